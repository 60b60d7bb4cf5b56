"""The requests of each case, serialised before a round."""

from __future__ import annotations

import base64
import json
import uuid

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf import wrappers_pb2

from bench.credentials import OPERATOR_CODE, OPERATOR_ID, Credentials
from gateway.v1 import common_pb2, events_pb2, tokens_pb2, wallet_pb2

PLAYER = "player-4711"
CURRENCY = "EUR"
TTL_S = 300
BATCH = 100
METADATA_JSON = b'{"source":"match","level":7}'
ECHOED = bytes(range(64))


def echo(credentials: Credentials, count: int) -> list[bytes]:
    """Return a message for the empty handlers. All calls may be the same."""
    return [wrappers_pb2.BytesValue(value=ECHOED).SerializeToString()]


def mint_launch_jwt(credentials: Credentials, count: int) -> list[bytes]:
    """Return one request for a player's token. All calls may be the same."""
    request = tokens_pb2.MintLaunchJWTRequest(
        operator_code=OPERATOR_CODE,
        environment=common_pb2.PHOENIX_ENVIRONMENT_SANDBOX,
        player=tokens_pb2.PlayerSession(player_id=PLAYER, name="Ada", currency=CURRENCY),
    )
    request.ttl.seconds = TTL_S
    return [request.SerializeToString()]


def submit_event(credentials: Credentials, count: int) -> list[bytes]:
    """Return one event without an id, with Struct metadata (the slower form). All calls may be the same."""
    event = events_pb2.Event(leaderboard_id="xp-weekly", user_id=PLAYER, score_delta=50)
    event.metadata.update({"source": "match", "level": 7})
    return [events_pb2.SubmitEventRequest(event=event).SerializeToString()]


def submit_events_json(credentials: Credentials, count: int) -> list[bytes]:
    """Return a batch of events without ids, with metadata as JSON. All calls may be the same."""
    events = [
        events_pb2.Event(
            leaderboard_id="xp-weekly", user_id=f"player-{number}", score_delta=50, metadata_json=METADATA_JSON
        )
        for number in range(BATCH)
    ]
    return [events_pb2.SubmitEventsRequest(events=events).SerializeToString()]


def submit_events_struct(credentials: Credentials, count: int) -> list[bytes]:
    """Return the same batch with metadata as Struct."""
    request = events_pb2.SubmitEventsRequest()
    for number in range(BATCH):
        event = request.events.add(leaderboard_id="xp-weekly", user_id=f"player-{number}", score_delta=50)
        event.metadata.update(json.loads(METADATA_JSON))
    return [request.SerializeToString()]


def new_moves(credentials: Credentials, count: int) -> list[bytes]:
    """Return webhooks of new wallet operations, each with its own key, body and signature."""
    return [_webhook(credentials.platform_key, str(uuid.uuid4())) for _ in range(count)]


def forged(credentials: Credentials, count: int) -> list[bytes]:
    """Return one webhook that another key signed. All calls may be the same."""
    return [_webhook(Ed25519PrivateKey.generate(), "forged")]


def balance(credentials: Credentials, count: int) -> list[bytes]:
    """Return one signed balance request. All calls may be the same."""
    body = json.dumps(
        {
            "operation": "balance",
            "operator_id": OPERATOR_ID,
            "environment": "sandbox",
            "player": {"external_id": PLAYER},
            "currency_code": CURRENCY,
        },
        separators=(",", ":"),
    ).encode()
    return [_signed(credentials.platform_key, "/wallet/balance", body, {})]


def _webhook(key: Ed25519PrivateKey, name: str) -> bytes:
    body = json.dumps(
        {
            "operation": "reserve_cash",
            "operator_id": OPERATOR_ID,
            "environment": "sandbox",
            "idempotency_key": f"pmm:{name}",
            "player": {"external_id": PLAYER},
            "currency_code": CURRENCY,
            "amount": {"value": "12.50"},
            "references": {"order_id": f"order-{name}", "market_id": "market-1"},
            "reason": "ORDER_REQUESTED",
        },
        separators=(",", ":"),
    ).encode()
    return _signed(key, "/wallet/transactions", body, {"idempotency-key": f"pmm:{name}"})


def _signed(key: Ed25519PrivateKey, path: str, body: bytes, more: dict[str, str]) -> bytes:
    headers = {
        "content-type": "application/json",
        "x-provider": "phoenix-prediction-market",
        "x-request-id": str(uuid.uuid4()),
        "signature": base64.urlsafe_b64encode(key.sign(body)).rstrip(b"=").decode(),
        **more,
    }
    return wallet_pb2.VerifyWalletRequest(
        operator_code=OPERATOR_CODE,
        environment=common_pb2.PHOENIX_ENVIRONMENT_SANDBOX,
        method="POST",
        path=path,
        headers=[wallet_pb2.HttpHeader(name=header, value=value) for header, value in headers.items()],
        raw_body=body,
    ).SerializeToString()
