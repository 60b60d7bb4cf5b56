"""No secret is anywhere but where it must be, after every RPC was called, well and badly, with Phoenix well and ill."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import pytest
import redis
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from gateway.interceptors.policy import METHODS
from gateway.v1 import (
    common_pb2,
    events_pb2,
    leaderboard_admin_pb2,
    leaderboards_pb2,
    operator_pb2,
    phoenix_pb2,
    tokens_pb2,
    wallet_pb2,
)
from tests.gateway_process import GatewayProcess, of_sandbox
from tests.redis_process import RedisProcess
from tests.sandbox_process import SandboxProcess
from tests.secret_scanner import SecretScanner, forms

V1 = "/phoenix.gateway.v1."
EVENT = events_pb2.Event(leaderboard_id="leaks", user_id="u", score_delta=1, metadata_json=b'{"a":1}')
SANDBOX = common_pb2.PHOENIX_ENVIRONMENT_SANDBOX
GOOD: dict[str, Any] = {
    "EventService/SubmitEvent": events_pb2.SubmitEventRequest(event=EVENT),
    "EventService/SubmitEvents": events_pb2.SubmitEventsRequest(events=[EVENT, events_pb2.Event()]),
    "LeaderboardService/GetLeaderboard": leaderboards_pb2.GetLeaderboardRequest(leaderboard_id="leaks"),
    "LeaderboardService/GetUserRank": leaderboards_pb2.GetUserRankRequest(leaderboard_id="leaks", user_id="u"),
    "LeaderboardService/GetUserScore": leaderboards_pb2.GetUserScoreRequest(leaderboard_id="leaks", user_id="u"),
    "LeaderboardService/ListSnapshots": leaderboards_pb2.ListSnapshotsRequest(leaderboard_id="leaks"),
    "LeaderboardAdminService/EnsureLeaderboard": leaderboard_admin_pb2.EnsureLeaderboardRequest(
        leaderboard_id="leaks", name="Leaks"
    ),
    "TokenService/MintLaunchJWT": tokens_pb2.MintLaunchJWTRequest(visitor=tokens_pb2.VisitorSession()),
    "TokenService/MintTenantJWT": tokens_pb2.MintTenantJWTRequest(user_id="u"),
    "TokenService/MintAdminJWT": tokens_pb2.MintAdminJWTRequest(subject="s"),
    "TokenService/SignLeaderboardSocket": tokens_pb2.SignLeaderboardSocketRequest(leaderboard_id="leaks"),
    "WalletService/VerifyWallet": wallet_pb2.VerifyWalletRequest(
        method="POST", path="/wallet/balance", headers=[wallet_pb2.HttpHeader(name="signature", value="A" * 86)],
        raw_body=b"{}",
    ),
    "OperatorService/GetOperatorSettings": operator_pb2.GetOperatorSettingsRequest(),
    "PhoenixService/Call": phoenix_pb2.CallRequest(
        surface=phoenix_pb2.PHOENIX_SURFACE_QUERY, method="GET", path="/v1/coupons"
    ),
}  # fmt: skip
FAULTS = ("status", "garbage", "cut", "lose_answer")


class Heard:
    """Everything that a caller receives."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel
        self.data = bytearray()
        self.codes: set[grpc.StatusCode] = set()

    def call(self, path: str, request: bytes) -> None:
        method: Any = self._channel.unary_unary(path)
        call: Any
        try:
            answer, call = method.with_call(request, timeout=10)
            self.codes.add(grpc.StatusCode.OK)
        except grpc.RpcError as error:
            answer, call = b"", error
            self.codes.add(error.code())
        self.data += answer + str(call.details() or "").encode()
        for name, value in (*(call.initial_metadata() or ()), *(call.trailing_metadata() or ())):
            self.data += name.encode() + (value if isinstance(value, bytes) else str(value).encode())


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.faults)])
def planted(
    request: pytest.FixtureRequest,
    redis_server: RedisProcess,
    sandbox: SandboxProcess,
    sandbox_process: SandboxProcess,
    tmp_path: Path,
) -> Iterator[GatewayProcess]:
    """A gateway with everything switched on, at the chattiest log level."""
    environ = {
        **of_sandbox(sandbox_process.urls, sandbox_process.environ),
        "GATEWAY_CACHE_KEYS": base64.b64encode(secrets.token_bytes(32)).decode(),
        "GATEWAY_LOG_LEVEL": "debug",
        "GATEWAY_AUDIT_FILE": str(tmp_path / "audit.jsonl"),
        "PHOENIX_PATHS": "QUERY GET /v1/coupons",
    }
    if request.param == "postgresql":
        environ["DATABASE_URL"] = request.getfixturevalue("postgres_url")
        environ["REDIS_URL"] = redis_server.url  # with SQLite, one machine's, it is refused
    with GatewayProcess(environ) as process:
        process.wait_serving("phoenix.gateway.v1.WalletService")
        yield process


def test_no_secret_is_found_anywhere(
    planted: GatewayProcess, redis_server: RedisProcess, sandbox: SandboxProcess, tmp_path: Path
) -> None:
    """Answers, errors, metadata, logs, metrics, admin port, Redis, database, audit log and Phoenix's side."""
    secret_scanner = SecretScanner(planted.environ)
    assert len(secret_scanner) >= 4
    with grpc.insecure_channel(planted.address) as channel:
        heard = Heard(channel)
        unary = [path for path, row in METHODS.items() if row.timeout_s is not None and path.startswith(V1)]
        for fault in ("", *FAULTS):
            for surface in ("ingestion", "query", "admin", "prediction") if fault else ():
                sandbox.control("POST", "/faults", {"surface": surface, "kind": fault, "status": 401, "times": 40})
            for path in unary:
                heard.call(path, b"")
                heard.call(path, b"\xff\xff")
                if (good := GOOD.get(path.removeprefix(V1))) is not None:
                    heard.call(path, good.SerializeToString())
    found = {f"{name} in what callers receive" for name in secret_scanner.found_in(bytes(heard.data))}
    for page in ("/metrics", "/healthz", "/readyz", "/evidence/head", "/keys/jwks.json"):
        found |= {f"{name} in {page}" for name in secret_scanner.found_in(_page(planted, page))}
    if "DATABASE_URL" in planted.environ:
        found |= {f"{name} in Redis" for name in secret_scanner.found_in(_redis(redis_server))}
        found |= {f"{name} in the database" for name in secret_scanner.found_in(_rows(planted.environ["DATABASE_URL"]))}
    found |= secret_scanner.found_below(planted.log_path.parent)
    found |= secret_scanner.found_below(tmp_path)
    # An API key is sent in a header, and the sandbox keeps fingerprints of those; what only signs is never sent.
    at_phoenix = json.dumps(sandbox.control("GET", "/requests")).encode()
    found |= {f"{name} at Phoenix" for name in secret_scanner.found_in(at_phoenix)}
    assert found == set()
    # The search itself went somewhere: calls that ended well and badly, a log, an audit log, rows and entries.
    assert {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INTERNAL} <= heard.codes
    assert (len(planted.log_text) > 10_000, (tmp_path / "audit.jsonl").stat().st_size > 1_000) == (True, True)


@pytest.mark.parametrize("place", ["raw", "hex", "base64"])
def test_a_secret_that_is_there_is_found(place: str, tmp_path: Path) -> None:
    """The search finds a planted secret at any position of a line."""
    secret = secrets.token_urlsafe(24)
    secret_scanner = SecretScanner({"INGESTION_HMAC_SECRET": secret})
    for before in ("", "a", "ab"):
        plain = f"{before}{secret} and more".encode()
        written = {"raw": plain, "hex": plain.hex().encode(), "base64": base64.b64encode(plain)}[place]
        (tmp_path / "log").write_bytes(b"line\n" + written)
        assert secret_scanner.found_below(tmp_path) == {"INGESTION_HMAC_SECRET in log"}


def test_the_private_half_of_a_key_is_looked_for(sandbox_process: SandboxProcess) -> None:
    """The PEM, and also the 32 raw bytes."""
    pem = sandbox_process.environ["PREDICTION_LAUNCH_KEY"]
    key: Any = load_pem_private_key(pem.encode(), password=None)
    secret_scanner = SecretScanner({"PREDICTION_LAUNCH_KEY": pem})
    assert all(secret_scanner.found_in(b"x" + form) for form in forms(key.private_bytes_raw()))


def _page(gateway: GatewayProcess, path: str) -> bytes:
    request = urllib.request.Request(f"http://{gateway.admin_address}{path}")
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
            return bytes(answer.read())
    except urllib.error.HTTPError as refused:
        return bytes(refused.read())


def _redis(server: RedisProcess) -> bytes:
    with redis.Redis.from_url(server.url) as client:
        keys = list(client.scan_iter())
        assert keys
        texts = [client.get(key) for key in keys if client.type(key) == b"string"]
        return b"\n".join([*keys, *(bytes(text) for text in texts if isinstance(text, bytes)), *_dumps(client, keys)])


def _dumps(client: Any, keys: list[bytes]) -> list[bytes]:
    """Entries of the other types, as Redis would write them to disk."""
    return [client.dump(key) or b"" for key in keys]


def _rows(url: str) -> bytes:
    """Every row of every table, as PostgreSQL writes it."""

    async def dump() -> bytes:
        connection = await asyncpg.connect(url)
        try:
            names = await connection.fetch("select tablename from pg_tables where schemaname = 'public'")
            rows = [await connection.fetch(f'select t::text from "{name[0]}" t') for name in names]
        finally:
            await connection.close()
        assert sum(map(len, rows)) > 0
        return "\n".join(str(row[0]) for table in rows for row in table).encode()

    return asyncio.run(dump())
