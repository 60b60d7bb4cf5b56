"""Every parser of bytes from outside, as one table: what it takes, what it may refuse with, and what good input is.

A parser that is added to the gateway gets a row here; `make fuzz` searches each for minutes, `make test` for moments.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from gateway.actions.shared.page_token import PageToken, decode_page_token, encode_page_token
from gateway.core import operator_api, wire_answers, wire_snapshots
from gateway.core.ed25519 import KeyRefused, generate_signing_key, load_signing_key, load_verifying_key
from gateway.core.encoding import MalformedSignature, b64url_encode, decode_signature
from gateway.core.event_ids import EventState, NotPacked, RememberedEvent, pack, unpack
from gateway.core.forwarded_identity import forwarded_names
from gateway.core.jose import TokenRefused, check_eddsa, write_eddsa
from gateway.core.json_text import (
    DoubtfulJson,
    NotJsonObject,
    canonical_text,
    check_unambiguous,
    read_object,
    read_tolerantly,
)
from gateway.core.raw_path import PathRefused, split_path
from gateway.core.sealing import SealedFor, SealKeys, SealRefused
from gateway.core.secret import Secret
from gateway.core.types import Environment, UnixSeconds
from gateway.core.wallet import IdempotencyKey, OperationKind, Refusal, Verdict, parse_operation, signed_parts
from gateway.core.wallet_adapter import WalletAdapter
from gateway.core.wire import check_metadata_json
from gateway.core.wire_socket import decode_frame
from gateway.errors import InvalidField, PhoenixAnswerUnreadable, UpstreamFault
from gateway.keys.platform.shared_key import (
    EntryUnreadable,
    KeyEntry,
    Nonce,
    decode_entry,
    decode_failure,
    decode_revoked,
    encode_entry,
    encode_failure,
    encode_revoked,
)
from gateway.phoenix.answers import Surface, error_of
from gateway.phoenix.http_types import Answer

NOW = 1_770_000_000.0
_SEAL = SealKeys([Secret(b"k" * 32)])
_PLACE = SealedFor(purpose="leaderboard", name="b", environment="sandbox", tenant="t")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One parser. `refusals`: all that it may raise; `seeds`: input of every form that it takes."""

    parse: Callable[[bytes], object]
    refusals: tuple[type[Exception], ...]
    seeds: tuple[bytes, ...]


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _headers(data: bytes) -> object:
    """Name and value pairs, one a line, as a front passes them on."""
    lines = _text(data).split("\n")
    return signed_parts([(name, value) for name, _, value in (line.partition(":") for line in lines)])


_IDEMPOTENCY_KEY = IdempotencyKey(value="key-1", line="key-1")


def _operation(data: bytes) -> object:
    """A final refusal has to be certainly true: for a body that a plain reader takes for an object it never is 400."""
    outcome = parse_operation(
        OperationKind.MOVE, data, _IDEMPOTENCY_KEY, WalletAdapter(), "operator-1", Environment.SANDBOX
    )
    if isinstance(outcome, Refusal) and outcome.verdict is Verdict.MALFORMED_BODY:
        assert not _is_strict_object(data)
    return outcome


def _is_strict_object(data: bytes) -> bool:
    try:
        return isinstance(json.loads(data.decode("utf-8"), parse_constant=_no_constant), dict)
    except (ValueError, RecursionError):
        return False


def _no_constant(name: str) -> object:
    raise ValueError(name)


def _object(data: bytes) -> object:
    """What was read is written back the same, each time. The tolerant reader takes all that the strict one takes."""
    members = read_object(data)
    once = canonical_text(members)
    assert canonical_text(read_object(once.encode("utf-8"))) == once
    assert canonical_text(read_tolerantly(data)) == once
    return members


def _tolerant_object(data: bytes) -> object:
    """What was read is kept in a form that a store and a message can hold, and is read back the same."""
    members = read_tolerantly(data)
    check_unambiguous(members)
    once = canonical_text(members)
    assert "\x00" not in once
    assert canonical_text(read_tolerantly(once.encode("utf-8"))) == once
    return members


def _page_token(data: bytes) -> object:
    return decode_page_token(_text(data), of="GetLeaderboard", tenant_id="t", leaderboard_id="b")


def _status(data: bytes) -> object:
    """The first two bytes choose the status, a line the Retry-After, the rest is the body."""
    head, _, body = data.partition(b"\n")
    status = 100 + int.from_bytes(head[:2], "big") % 500
    answer = Answer(status=status, headers={"retry-after": head[2:].decode("latin-1")}, body=body)
    return error_of(answer, Surface.INGESTION, NOW, changes=True)


def _sealed(data: bytes) -> object:
    opened = _SEAL.open(_PLACE, data, now=UnixSeconds(int(NOW)))
    assert opened.payload == b"payload"  # no other process has the key
    return opened


_KEY, _KEY_PEM = generate_signing_key()
_UNREADABLE = (PhoenixAnswerUnreadable,)
_BOARD = json.dumps(
    {
        "leaderboard_id": "b", "window_key": "2025-11-18", "total": 2,
        "entries": [{"rank": 1, "user_id": "u", "score": 12.5, "name": "Ada"}, {"rank": 2, "userId": "v", "points": 3}],
    }
).encode()  # fmt: skip
_MOVE = json.dumps(
    {
        "operation": "reserve_cash", "player_id": "p", "currency": "EUR", "amount": {"value": "12.50", "scale": 2},
        "references": {"order_id": "o-1"}, "operator_id": "operator-1", "environment": "sandbox", "reason": "bet",
    }
).encode()  # fmt: skip
_SIGNATURE = b64url_encode(_KEY.sign(_MOVE))

TARGETS: dict[str, Target] = {
    "wallet_headers": Target(
        parse=_headers,
        refusals=(),
        seeds=(
            f"Signature:{_SIGNATURE}\nIdempotency-Key: k\nX-Request-Id: 0190\nX-Provider: phoenix".encode(),
            f"signature:{_SIGNATURE}\nsignature:{_SIGNATURE}".encode(),
        ),
    ),
    "wallet_signature": Target(
        parse=lambda data: decode_signature(_text(data)), refusals=(MalformedSignature,), seeds=(_SIGNATURE.encode(),)
    ),
    "wallet_body": Target(
        parse=_operation,
        refusals=(),
        seeds=(_MOVE, b'{"operation":"credit_cash","amount":{"minor_units":1250,"exponent":-2}}', b"[]", b"{}"),
    ),
    "json_object": Target(
        parse=_object, refusals=(NotJsonObject, DoubtfulJson), seeds=(_MOVE, b'{"a":[1.50,1e5,-0,null,true,"\\u00e9"]}')
    ),
    "json_object_tolerant": Target(
        parse=_tolerant_object, refusals=(NotJsonObject, DoubtfulJson), seeds=(_MOVE, b'{"a":[1e400,"\\ud83d\\u0000"]}')
    ),
    "metadata_json": Target(parse=check_metadata_json, refusals=(), seeds=(b'{"a":{"b":[1]}}',)),
    "public_key_pem": Target(
        parse=load_verifying_key, refusals=(KeyRefused,), seeds=(_KEY.public.spki_pem, _KEY.public.spki_pem * 2)
    ),
    "private_key_pem": Target(parse=load_signing_key, refusals=(KeyRefused,), seeds=(_KEY_PEM,)),
    "token": Target(
        parse=lambda data: check_eddsa(_text(data), _KEY.public, {"sub": "p"}),
        refusals=(TokenRefused,),
        seeds=(write_eddsa({"sub": "p"}, _KEY, with_key_id=True).encode(),),
    ),
    "leaderboard_answer": Target(parse=wire_answers.decode_leaderboard, refusals=_UNREADABLE, seeds=(_BOARD, b"[]")),
    "rank_answer": Target(parse=wire_answers.decode_rank, refusals=_UNREADABLE, seeds=(b'{"rank":1,"score":2.5}',)),
    "score_answer": Target(parse=wire_answers.decode_score, refusals=_UNREADABLE, seeds=(b'{"data":{"score":"7"}}',)),
    "definition_answer": Target(
        parse=wire_answers.decode_definition,
        refusals=_UNREADABLE,
        seeds=(b'{"id":"b","config":{"timeframe":"weekly"}}',),
    ),
    "definitions_answer": Target(
        parse=wire_answers.decode_definitions, refusals=_UNREADABLE, seeds=(b'{"leaderboards":[{"id":"b"}]}',)
    ),
    "neighbors_answer": Target(parse=wire_snapshots.decode_neighbors, refusals=_UNREADABLE, seeds=(_BOARD,)),
    "snapshots_answer": Target(
        parse=wire_snapshots.decode_snapshots,
        refusals=_UNREADABLE,
        seeds=(b'{"snapshots":[{"taken_at":"2025-11-18T12:00:00Z"}]}',),
    ),
    "user_snapshot_answer": Target(
        parse=wire_snapshots.decode_user_snapshot, refusals=_UNREADABLE, seeds=(b'{"rank":1}',)
    ),
    "error_answer": Target(
        parse=_status,
        refusals=(UpstreamFault,),
        seeds=(b'\x01\x2430\n{"code":"leaderboard_inactive"}', b"\x01\x49Wed, 21 Oct 2026 07:28:00 GMT\n"),
    ),
    "operator_settings": Target(
        parse=operator_api.decode_settings,
        refusals=_UNREADABLE,
        seeds=(b'{"currencies":["EUR"],"fee_schedule":{"maker":"0.01","taker":"0.02"}}',),
    ),
    "operator_categories": Target(
        parse=operator_api.decode_categories, refusals=_UNREADABLE, seeds=(b'{"categories":[{"id":"c","name":"n"}]}',)
    ),
    "operator_stats": Target(parse=operator_api.decode_stats, refusals=_UNREADABLE, seeds=(b'{"volume":"1.5"}',)),
    "socket_frame": Target(
        parse=decode_frame,
        refusals=_UNREADABLE,
        seeds=(
            b'{"type":"snapshot","sequence":1,"data":' + _BOARD + b"}",
            b'{"type":"score_update","changes":[{"user_id":"u","rank":1,"score":5}],"removed":["v"]}',
            b'{"type":"heartbeat"}',
        ),
    ),
    "page_token": Target(
        parse=_page_token,
        refusals=(InvalidField,),
        seeds=(
            encode_page_token(PageToken(of="GetLeaderboard", tenant_id="t", leaderboard_id="b", offset=7)).encode(),
        ),
    ),
    "raw_path": Target(
        parse=lambda data: split_path(_text(data)), refusals=(PathRefused,), seeds=(b"/v1/a%20b/c", b"/v1/..%2f")
    ),
    "forwarded_certificate": Target(
        parse=lambda data: forwarded_names(_text(data)),
        refusals=(),
        seeds=(b'By=x;URI="spiffe://a/b",URI=spiffe://c/d;DNS=e.f;Subject="CN=\\"q\\""',),
    ),
    "sealed_entry": Target(
        parse=_sealed,
        refusals=(SealRefused,),
        seeds=(
            _SEAL.seal(_PLACE, b"payload", stored_at=UnixSeconds(int(NOW) - 5), expires_at=UnixSeconds(int(NOW) + 50)),
        ),
    ),
    "remembered_event": Target(
        parse=unpack,
        refusals=(NotPacked,),
        seeds=(pack(RememberedEvent(state=EventState.ACCEPTED, at=NOW, digest=b"d" * 32)),),
    ),
    "shared_key_entry": Target(
        parse=decode_entry,
        refusals=(EntryUnreadable,),
        seeds=(encode_entry(KeyEntry(key=_KEY.public, began_at=NOW, answered=frozenset({Nonce(b"n" * 16)}))),),
    ),
    "shared_key_failure": Target(
        parse=decode_failure, refusals=(EntryUnreadable,), seeds=(encode_failure(frozenset({Nonce(b"n" * 16)})),)
    ),
    "revoked_keys": Target(
        parse=decode_revoked, refusals=(EntryUnreadable,), seeds=(encode_revoked(frozenset({_KEY.key_id})),)
    ),
}
