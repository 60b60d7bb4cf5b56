"""Callers that never stop, and a verifier that follows the published keys; what fails is kept, with its reason.

A caller whose replica dies calls the other one, as its balancer would have it; what fails then has failed.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import time
import urllib.request
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any, Self

import grpc
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from gateway.v1 import (
    events_pb2,
    events_pb2_grpc,
    leaderboard_admin_pb2,
    leaderboard_admin_pb2_grpc,
    leaderboards_pb2,
    leaderboards_pb2_grpc,
    operator_pb2,
    operator_pb2_grpc,
    tokens_pb2,
    tokens_pb2_grpc,
    wallet_pb2_grpc,
)
from gateway.v1.wallet_pb2 import WalletVerdict
from tests.gateway_process import GatewayProcess, reason_of
from tests.integration.test_wallet import as_request
from tests.sandbox_process import SandboxProcess

OTHER_REPLICA_WITHIN_S = 20.0
GONE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
GENUINE = {WalletVerdict.WALLET_VERDICT_VERIFIED, WalletVerdict.WALLET_VERDICT_KEY_RETIRED}
BOARD = "rotations"


class Verifier:
    """Verifies launch tokens with a published key set that it keeps for `keep_s`; knows nothing else of keys."""

    def __init__(self, gateways: Sequence[GatewayProcess], keep_s: float) -> None:
        self._gateways = gateways
        self._keep_s = keep_s
        self._keys: list[Ed25519PublicKey] = []
        self._fetched_at = -1e9
        self.verified = 0
        self.unverified: list[str] = []

    async def check(self, token: str) -> None:
        """Verify one token with the stored key set. Fetch the set again only when it expires."""
        if time.monotonic() - self._fetched_at > self._keep_s:
            began = time.monotonic()
            self._keys, self._fetched_at = await asyncio.to_thread(self._fetch), began
        signed, _, signature = token.rpartition(".")
        for key in self._keys:
            try:
                key.verify(_decoded(signature), signed.encode())
            except InvalidSignature:
                continue
            self.verified += 1
            return
        self.unverified.append(token)

    def _fetch(self) -> list[Ed25519PublicKey]:
        """Ask the replicas in any order until one answers."""
        until = time.monotonic() + OTHER_REPLICA_WITHIN_S
        while True:
            address = random.choice(self._gateways).admin_address
            try:
                url = f"http://{address}/keys/acme/sandbox/jwks.json"
                with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5) as answer:
                    keys = json.loads(answer.read())["keys"]
                return [Ed25519PublicKey.from_public_bytes(_decoded(key["x"])) for key in keys]
            except OSError:
                assert time.monotonic() < until, "no replica shows its keys"
                time.sleep(0.05)


class Load:
    """Calls of every kind that uses a key, all the time, over both replicas."""

    def __init__(
        self, gateways: Sequence[GatewayProcess], sandbox: SandboxProcess, keep_s: float, pause_s: float
    ) -> None:
        """Args: `pause_s`: how long a caller rests between calls; 0 is full load."""
        self._gateways = gateways
        self._sandbox = sandbox
        self._pause_s = pause_s
        self.verifier = Verifier(gateways, keep_s)
        self.done: Counter[str] = Counter()
        self.failed: list[str] = []
        self._older: deque[tuple[float, str]] = deque()
        self._stack = AsyncExitStack()
        self._channels: list[grpc.aio.Channel] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        options = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 500)]
        self._channels = [
            await self._stack.enter_async_context(grpc.aio.insecure_channel(gateway.address, options=options))
            for gateway in self._gateways
        ]
        kinds: list[Callable[[], Awaitable[None]]] = [
            self._mint_launch,
            self._mint_others,
            self._submit,
            self._read,
            self._administer,
            self._operate,
            self._verify_wallet,
            self._verify_late,
            self._verify_older,
        ]
        self._tasks = [asyncio.create_task(self._for_ever(kind)) for kind in kinds]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._stack.aclose()

    async def _for_ever(self, kind: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await kind()
            except grpc.aio.AioRpcError as error:
                self.failed.append(f"{kind.__name__}: {error.code().name} {reason_of(error)}: {error.details()}")
            except AssertionError as error:
                self.failed.append(f"{kind.__name__}: {error}")
            await asyncio.sleep(self._pause_s)

    async def _call(self, stub: Callable[[grpc.aio.Channel], Any], method: str, request: Any) -> Any:
        """Call one replica, and the other one when the first is not there. Raises: AioRpcError."""
        until = time.monotonic() + OTHER_REPLICA_WITHIN_S
        for attempt in range(random.randrange(2), 10_000):
            try:
                answer = await getattr(stub(self._channels[attempt % 2]), method)(request, timeout=15)
            except grpc.aio.AioRpcError as error:
                # A killed replica gives no reason. An error with a reason comes from a running one and is a failure.
                if error.code() not in GONE or reason_of(error) or time.monotonic() > until:
                    raise
                await asyncio.sleep(0.02)
            else:
                self.done[method] += 1
                return answer
        raise AssertionError("unreachable")

    async def _mint_launch(self) -> None:
        request = tokens_pb2.MintLaunchJWTRequest(visitor=tokens_pb2.VisitorSession())
        token = (await self._call(tokens_pb2_grpc.TokenServiceStub, "MintLaunchJWT", request)).token
        await self.verifier.check(token)
        if self.done["MintLaunchJWT"] % 20 == 0:
            self._older.append((time.monotonic(), token))
            reported = await self._sandbox.control_async("POST", "/tokens/verify", {"token": token, "kind": "launch"})
            assert reported["ok"], f"Phoenix: {reported['reason']}"

    async def _verify_older(self) -> None:
        """Tokens of a few seconds ago, that the key before this one signed, still verify."""
        await asyncio.sleep(0.2)
        while self._older and time.monotonic() - self._older[0][0] > 5:
            await self.verifier.check(self._older.popleft()[1])

    async def _mint_others(self) -> None:
        stub = tokens_pb2_grpc.TokenServiceStub
        tenant = await self._call(stub, "MintTenantJWT", tokens_pb2.MintTenantJWTRequest(user_id="ada"))
        admin = await self._call(stub, "MintAdminJWT", tokens_pb2.MintAdminJWTRequest(subject="ops"))
        for kind, token in (("tenant", tenant.token), ("admin", admin.token)):
            reported = await self._sandbox.control_async("POST", "/tokens/verify", {"token": token, "kind": kind})
            assert reported["ok"], f"Phoenix: {reported['reason']}"

    async def _submit(self) -> None:
        event = events_pb2.Event(leaderboard_id=BOARD, user_id="ada", score_delta=1)
        await self._call(events_pb2_grpc.EventServiceStub, "SubmitEvent", events_pb2.SubmitEventRequest(event=event))

    async def _read(self) -> None:
        request = leaderboards_pb2.GetLeaderboardRequest(leaderboard_id=BOARD)
        request.max_staleness.SetInParent()  # zero: a fresh read
        await self._call(leaderboards_pb2_grpc.LeaderboardServiceStub, "GetLeaderboard", request)
        shared = leaderboards_pb2.GetLeaderboardRequest(leaderboard_id=BOARD)  # through the sealed cache
        await self._call(leaderboards_pb2_grpc.LeaderboardServiceStub, "GetLeaderboard", shared)

    async def _administer(self) -> None:
        request = leaderboard_admin_pb2.CheckAdminHealthRequest()
        await self._call(leaderboard_admin_pb2_grpc.LeaderboardAdminServiceStub, "CheckAdminHealth", request)

    async def _operate(self) -> None:
        request = operator_pb2.GetOperatorSettingsRequest()
        await self._call(operator_pb2_grpc.OperatorServiceStub, "GetOperatorSettings", request)

    async def _verify_late(self) -> None:
        """A webhook that was on its way for a second, in which the platform key may have rotated."""
        await self._verify_wallet(on_its_way_s=1.0)

    async def _verify_wallet(self, on_its_way_s: float = 0.0) -> None:
        webhook = await self._sandbox.control_async(
            "POST", "/wallet/sign", {"route": "transactions", "operation": "reserve_cash"}
        )
        await asyncio.sleep(on_its_way_s)
        answer = await self._call(wallet_pb2_grpc.WalletServiceStub, "VerifyWallet", as_request(webhook))
        assert answer.verdict in GENUINE, f"a genuine webhook: {WalletVerdict.Name(answer.verdict)}"
        self.done[WalletVerdict.Name(answer.verdict)] += 1


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
