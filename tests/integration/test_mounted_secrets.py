"""A running gateway whose secrets are mounted as a platform mounts them, and replaced there by an atomic swap."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from gateway.v1 import keys_pb2, keys_pb2_grpc, wallet_pb2, wallet_pb2_grpc
from tests.gateway_process import GatewayProcess, of_sandbox, reason_of
from tests.integration.event_calls import metric
from tests.integration.test_wallet import reserve
from tests.other_user import Mount
from tests.sandbox_process import SandboxProcess

pytestmark = pytest.mark.timeout(180)  # a gateway is started, on a machine that may be busy


class Mounted:
    """A sandbox of its own, and a gateway with the platform key and the development token in one mount."""

    def __init__(self, folder: Path, sandbox: SandboxProcess) -> None:
        self.sandbox = sandbox
        self.mount = Mount(folder / "secrets", group=0, mode=0o600)
        self.token = secrets.token_hex(16)
        self.swap(self.served())
        environ = {
            **of_sandbox(sandbox.urls, sandbox.environ),
            "PREDICTION_PLATFORM_KEY_FILE": self.mount.path("platform.pem"),
            "GATEWAY_DEV_TOKEN_FILE": self.mount.path("token"),
        }
        self.gateway = GatewayProcess(environ)

    def served(self) -> str:
        """The platform key that Phoenix uses now."""
        return str(self.sandbox.control("GET", "/keys")["current"])

    def swap(self, platform_key: str) -> None:
        self.mount.swap(platform__pem=platform_key, token=self.token)

    def metadata(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self.token}"),)

    def verdict(self, channel: grpc.Channel, *, forged: bool = False) -> str:
        """The verdict on a move, signed with the key that Phoenix uses now, and changed on the way if `forged`."""
        stub = wallet_pb2_grpc.WalletServiceStub(channel)
        request = reserve(self.sandbox)
        if forged:
            request.raw_body += b" "
        answer = stub.VerifyWallet(request, timeout=10, metadata=self.metadata())
        return wallet_pb2.WalletVerdict.Name(answer.verdict).removeprefix("WALLET_VERDICT_")

    def list_keys(self, channel: grpc.Channel, token: str) -> str:
        try:
            keys_pb2_grpc.KeyServiceStub(channel).ListKeys(
                keys_pb2.ListKeysRequest(), timeout=10, metadata=(("authorization", f"Bearer {token}"),)
            )
        except grpc.RpcError as error:
            return reason_of(error)
        return "OK"

    def lines(self, event: str) -> list[dict[str, object]]:
        """The log lines with this text."""
        found = [json.loads(line) for line in self.gateway.log_text.splitlines() if line.startswith("{")]
        return [line for line in found if line["event"] == event]


@pytest.fixture(scope="module")
def mounted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mounted]:
    with SandboxProcess() as sandbox:
        made = Mounted(tmp_path_factory.mktemp("mounted"), sandbox)
        # Without the first health check of GatewayProcess.start, which shows no token.
        made.gateway.spawn()
        try:
            until(lambda: bool(made.gateway.log_text.count('"event":"serving"')))
            yield made
        finally:
            made.gateway.stop()


def until(condition: Callable[[], bool], within_s: float = 60.0) -> None:
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.02)


def test_a_replaced_platform_key_is_used_for_the_next_webhook(mounted: Mounted) -> None:
    """A genuine payout gets no final refusal: the file is read again after the webhook arrived, not some time later."""
    with grpc.insecure_channel(mounted.gateway.address) as channel:
        assert mounted.verdict(channel) == "VERIFIED"
        mounted.sandbox.control("POST", "/keys/rotate", {})
        mounted.swap(mounted.served())
        assert mounted.verdict(channel) == "VERIFIED"


def test_an_unusable_platform_key_file_leaves_the_known_key_and_refuses_nothing_for_ever(mounted: Mounted) -> None:
    """Two different keys: 503 for what the known key does not verify, one line in the log, and an end of it."""
    with grpc.insecure_channel(mounted.gateway.address) as channel:
        known = mounted.served()
        assert mounted.verdict(channel) == "VERIFIED"
        mounted.sandbox.control("POST", "/keys/rotate", {})
        mounted.swap(known + mounted.served())
        assert [mounted.verdict(channel) for _ in range(3)] == ["KEY_UNAVAILABLE"] * 3
        (line,) = mounted.lines("not available")
        assert line["part"] == "platform key"
        assert "two different keys" in str(line["trouble"])
        mounted.swap(mounted.served())
        assert mounted.verdict(channel) == "VERIFIED"
        until(lambda: len(mounted.lines("available again")) == 1)


def test_a_platform_key_file_that_is_replaced_late_refuses_no_genuine_payout(mounted: Mounted) -> None:
    """Phoenix signs with its new key before the mount has it: 503 until then. A forgery is still called one."""
    with grpc.insecure_channel(mounted.gateway.address) as channel:
        assert mounted.verdict(channel) == "VERIFIED"
        before = len(mounted.lines("available again"))
        mounted.sandbox.control("POST", "/keys/rotate", {})
        assert [mounted.verdict(channel) for _ in range(2)] == ["KEY_UNAVAILABLE"] * 2
        assert mounted.verdict(channel, forged=True) == "BAD_SIGNATURE"
        (line,) = [one for one in mounted.lines("not available") if one["part"] == "configured platform key"]
        assert "PREDICTION_PLATFORM_KEY" in str(line["advice"])
        mounted.swap(mounted.served())
        assert mounted.verdict(channel) == "VERIFIED"
        until(lambda: len(mounted.lines("available again")) == before + 1)


def test_a_platform_key_that_is_no_file_is_never_fetched(mounted: Mounted) -> None:
    """A gateway that cannot reach Phoenix's key tells a forgery at once: the operator has given the key instead."""
    settings = {
        **of_sandbox(mounted.sandbox.urls, mounted.sandbox.environ),
        "PREDICTION_PLATFORM_KEY": mounted.served(),
        "PREDICTION_BASE_URL": "http://127.0.0.1:1",
    }
    with GatewayProcess(settings) as gateway, grpc.insecure_channel(gateway.address) as channel:
        stub = wallet_pb2_grpc.WalletServiceStub(channel)
        request = reserve(mounted.sandbox)
        assert stub.VerifyWallet(request, timeout=10).verdict == wallet_pb2.WALLET_VERDICT_VERIFIED
        request.raw_body += b" "
        assert stub.VerifyWallet(request, timeout=10).verdict == wallet_pb2.WALLET_VERDICT_BAD_SIGNATURE
        assert metric(gateway, 'phoenix_gateway_platform_key_events_total{event="fetch_began"}') == 0


def test_a_replaced_development_token_is_used(mounted: Mounted) -> None:
    """The new one is taken within seconds, the old one is refused then; one that is too short changes nothing."""
    with grpc.insecure_channel(mounted.gateway.address) as channel:
        old, mounted.token = mounted.token, secrets.token_hex(16)
        assert (mounted.list_keys(channel, old), mounted.list_keys(channel, mounted.token)) == ("OK", "NOT_ALLOWED")
        mounted.swap(mounted.served())
        until(lambda: mounted.list_keys(channel, mounted.token) == "OK")
        assert mounted.list_keys(channel, old) == "NOT_ALLOWED"
        mounted.mount.swap(platform__pem=mounted.served(), token="too-short")
        until(lambda: bool(mounted.lines("a new secret is not used; the known one stays")))
        assert mounted.list_keys(channel, mounted.token) == "OK"
