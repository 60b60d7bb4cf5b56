"""Comparator N, the naive baseline: the gateway that a competent team writes in an afternoon.

It uses grpc.aio with generated servicers, one default `httpx.AsyncClient`, `json`, `hmac`, PyJWT and `sqlite3` with one
commit per row. It caches and batches nothing. Its answers are correct, but it has no validation, policy, evidence,
metrics or key rotation. It reads the gateway's settings and prints its port when it serves.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import os
import sqlite3
import sys
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import jwt
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from google.protobuf.json_format import MessageToDict

from bench.baseline_boards import Leaderboards
from gateway.v1 import (
    common_pb2,
    events_pb2,
    events_pb2_grpc,
    leaderboards_pb2_grpc,
    tokens_pb2,
    tokens_pb2_grpc,
    wallet_pb2,
    wallet_pb2_grpc,
)

Context = grpc.aio.ServicerContext[Any, Any]
_ENVIRONMENTS = {
    common_pb2.PHOENIX_ENVIRONMENT_UNSPECIFIED: "sandbox",
    common_pb2.PHOENIX_ENVIRONMENT_SANDBOX: "sandbox",
    common_pb2.PHOENIX_ENVIRONMENT_PROD: "prod",
}


class Events(events_pb2_grpc.EventServiceServicer):
    """Signs and forwards each event in its own request."""

    def __init__(self) -> None:
        self._client = httpx.AsyncClient()
        self._url = os.environ["INGESTION_BASE_URL"] + "/v1/events"
        self._tenant = os.environ["TENANT_ID"]
        self._secret = os.environ["INGESTION_HMAC_SECRET"].encode()

    async def SubmitEvent(  # noqa: N802 - RPC name
        self, request: events_pb2.SubmitEventRequest, context: Context
    ) -> events_pb2.SubmitEventResponse:
        """Forward one event."""
        event_id, status = await self._forward(request.event)
        if status // 100 != 2:
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"Phoenix answered {status}")
        answer = events_pb2.SubmitEventResponse(event_id=event_id, status=events_pb2.EVENT_STATUS_ACCEPTED)
        answer.accept_time.GetCurrentTime()
        return answer

    async def SubmitEvents(  # noqa: N802 - RPC name
        self, request: events_pb2.SubmitEventsRequest, context: Context
    ) -> events_pb2.SubmitEventsResponse:
        """Forward many events, each in its own request."""
        answer = events_pb2.SubmitEventsResponse()
        for event_id, status in await asyncio.gather(*(self._forward(event) for event in request.events)):
            result = answer.results.add(event_id=event_id)
            if status // 100 == 2:
                result.status = events_pb2.EVENT_STATUS_ACCEPTED
            else:
                result.error.code = grpc.StatusCode.UNAVAILABLE.value[0]
        return answer

    async def StreamEvents(  # noqa: N802 - RPC name
        self, messages: AsyncIterator[events_pb2.StreamEventsRequest], context: Context
    ) -> AsyncIterator[events_pb2.StreamEventsResponse]:
        """Forward the events of each message, each in its own request, and acknowledge the message."""
        async for message in messages:
            answer = events_pb2.StreamEventsResponse(sequence=message.sequence)
            for event_id, status in await asyncio.gather(*(self._forward(event) for event in message.events)):
                result = answer.results.add(event_id=event_id)
                if status // 100 == 2:
                    result.status = events_pb2.EVENT_STATUS_ACCEPTED
                else:
                    result.error.code = grpc.StatusCode.UNAVAILABLE.value[0]
            yield answer

    async def _forward(self, event: events_pb2.Event) -> tuple[str, int]:
        event_id = event.event_id or str(uuid.uuid4())
        document: dict[str, Any] = {
            "event_id": event_id,
            "tenant_id": self._tenant,
            "leaderboard_id": event.leaderboard_id,
            "user_id": event.user_id,
        }
        if event.HasField("score_delta"):
            document["score_delta"] = event.score_delta
        if event.HasField("metadata"):
            document["metadata"] = MessageToDict(event.metadata)
        elif event.metadata_json:
            document["metadata"] = json.loads(event.metadata_json)
        body = json.dumps(document).encode()
        at = str(int(time.time()))
        tag = hmac.new(self._secret, b"POST\n/v1/events\n" + at.encode() + b"\n" + body, hashlib.sha256).hexdigest()
        headers = {
            "Content-Type": "application/json",
            "X-Tenant-Id": self._tenant,
            "X-Timestamp": at,
            "X-Signature": f"hmac-sha256={tag}",
        }
        answer = await self._client.post(self._url, content=body, headers=headers)
        return event_id, answer.status_code


class Tokens(tokens_pb2_grpc.TokenServiceServicer):
    """Mints launch tokens with PyJWT."""

    def __init__(self) -> None:
        self._pem = os.environ["PREDICTION_LAUNCH_KEY"]
        self._code = os.environ["PREDICTION_OPERATOR_CODE"]
        self._embed = os.environ["PREDICTION_EMBED_URL"]

    async def MintLaunchJWT(  # noqa: N802 - RPC name
        self, request: tokens_pb2.MintLaunchJWTRequest, context: Context
    ) -> tokens_pb2.MintLaunchJWTResponse:
        """Mint one token."""
        now = int(time.time())
        claims: dict[str, Any] = {"iss": self._code, "env": _ENVIRONMENTS[request.environment], "aud": "pmm_default"}
        claims |= {"iat": now, "exp": now + (request.ttl.seconds or 300)}
        if request.WhichOneof("session") == "player":
            claims |= {"sub": request.player.player_id, "currency": request.player.currency, "typ": "player"}
            if request.player.name:
                claims["name"] = request.player.name
        token = jwt.encode(claims, self._pem, algorithm="EdDSA")
        answer = tokens_pb2.MintLaunchJWTResponse(
            token=token, key_id="launch", embed_url=f"{self._embed}/o/{self._code}?token={token}"
        )
        answer.expire_time.FromSeconds(claims["exp"])
        return answer


class Wallet(wallet_pb2_grpc.WalletServiceServicer):
    """Verifies webhooks and stores each operation in SQLite, with one commit per row."""

    def __init__(self) -> None:
        key = load_pem_public_key(os.environ["PREDICTION_PLATFORM_KEY"].encode())
        assert isinstance(key, Ed25519PublicKey)
        self._key = key
        self._code = os.environ["PREDICTION_OPERATOR_CODE"]
        self._database = sqlite3.connect(Path(os.environ["GATEWAY_DATA_DIR"]) / "wallet.db")
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=FULL")
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS moves (id TEXT, operator TEXT, operation TEXT, key TEXT, body BLOB, "
            "signature TEXT, at REAL, UNIQUE (operator, operation, key))"
        )

    async def VerifyWallet(  # noqa: N802 - RPC name
        self, request: wallet_pb2.VerifyWalletRequest, context: Context
    ) -> wallet_pb2.VerifyWalletResponse:
        """Verify one webhook and claim its operation."""
        headers = {header.name.lower(): header.value for header in request.headers}
        answer = wallet_pb2.VerifyWalletResponse(request_body_sha256=hashlib.sha256(request.raw_body).hexdigest())
        signature = headers.get("signature", "")
        try:
            self._key.verify(base64.urlsafe_b64decode(signature + "=="), request.raw_body)
        except (InvalidSignature, ValueError):
            answer.verdict = wallet_pb2.WALLET_VERDICT_BAD_SIGNATURE
            answer.reply.status = 401
            answer.reply.content_type = "application/json"
            answer.reply.body = b'{"error":"bad_signature"}'
            return answer
        body = json.loads(request.raw_body)
        answer.verdict = wallet_pb2.WALLET_VERDICT_VERIFIED
        answer.operation.operation = body["operation"]
        answer.operation.idempotency_key = headers["idempotency-key"]
        answer.operation.player_id = body["player"]["external_id"]
        answer.operation.amount_json = json.dumps(body["amount"])
        row = (str(uuid.uuid4()), self._code, body["operation"], headers["idempotency-key"])
        try:
            with self._database:
                self._database.execute(
                    "INSERT INTO moves VALUES (?, ?, ?, ?, ?, ?, ?)", (*row, request.raw_body, signature, time.time())
                )
        except sqlite3.IntegrityError:
            answer.disposition = wallet_pb2.WALLET_DISPOSITION_IN_PROGRESS
            answer.reply.status = 409
            return answer
        answer.disposition = wallet_pb2.WALLET_DISPOSITION_NEW
        answer.operation_id = row[0]
        answer.attempt = 1
        return answer


async def serve() -> None:
    """Serve until the process ends."""
    server = grpc.aio.server()
    # The base classes answer UNIMPLEMENTED for methods that are not measured. `Any`: the types want all methods.
    events: Any = Events
    tokens: Any = Tokens
    wallet: Any = Wallet
    boards: Any = Leaderboards
    events_pb2_grpc.add_EventServiceServicer_to_server(events(), server)
    tokens_pb2_grpc.add_TokenServiceServicer_to_server(tokens(), server)
    wallet_pb2_grpc.add_WalletServiceServicer_to_server(wallet(), server)
    leaderboards_pb2_grpc.add_LeaderboardServiceServicer_to_server(boards(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve())
