"""A gateway whose launch key stays in a store: Vault's transit engine, AWS KMS, Google Cloud KMS, SoftHSM.

Vault and SoftHSM are real. AWS and Google are emulators of the published APIs before the real client libraries.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest

from gateway.v1 import keys_pb2, keys_pb2_grpc, operator_pb2, operator_pb2_grpc, tokens_pb2, tokens_pb2_grpc
from tests.gateway_process import GatewayProcess, of_sandbox, reason_of, retry_after_s
from tests.integration.launch_key_stores import ROTATIONS, Store, aws, gcp, openbao, register, softhsm, transit
from tests.sandbox_process import SandboxProcess
from tests.vault_process import BUILD_WITHIN_S

pytestmark = pytest.mark.timeout(BUILD_WITHIN_S + 300)
STORES = ("transit", pytest.param("openbao", marks=pytest.mark.faults), "aws", "gcp", "softhsm")
TAKEN_OVER_WITHIN_S = 60.0


VISITOR = tokens_pb2.MintLaunchJWTRequest(visitor=tokens_pb2.VisitorSession())


class Bench:
    """A sandbox, a store and a gateway."""

    def __init__(self, sandbox: SandboxProcess, store: Store) -> None:
        self.sandbox = sandbox
        self.store = store
        environ = dict(sandbox.environ)
        del environ["PREDICTION_LAUNCH_KEY"]
        self.gateway = GatewayProcess(
            {
                **of_sandbox(sandbox.urls, environ),
                **store.environ,
                "PREDICTION_LAUNCH_KEY_REF": store.reference,
                "PREDICTION_KEY_LEAD": "0.5",
                "PREDICTION_LAUNCH_MAX_TTL": "900",
                "GATEWAY_SECRET_POLL": "0.2",
            }
        )
        register(sandbox, store.first)

    def mint(self, channel: grpc.Channel, timeout: float = 10.0) -> str:
        """Mint a token, and let Phoenix verify it."""
        answer = tokens_pb2_grpc.TokenServiceStub(channel).MintLaunchJWT(VISITOR, timeout=timeout)
        self.verify(answer.token)
        return str(answer.key_id)

    def verify(self, token: str) -> None:
        reported = self.sandbox.control("POST", "/tokens/verify", {"token": token, "kind": "launch"})
        assert reported["ok"], reported

    def mint_many(self, channel: grpc.Channel, count: int) -> list[Any]:
        request = tokens_pb2.BatchMintLaunchJWTRequest(requests=[VISITOR] * count)
        return list(tokens_pb2_grpc.TokenServiceStub(channel).BatchMintLaunchJWT(request, timeout=20).results)

    def keys(self, channel: grpc.Channel) -> list[keys_pb2.KeyDescription]:
        answer = keys_pb2_grpc.KeyServiceStub(channel).ListKeys(keys_pb2.ListKeysRequest(), timeout=10)
        return [one for one in answer.keys if one.kind == keys_pb2.KEY_KIND_OPERATOR]

    def operate(self, channel: grpc.Channel) -> None:
        stub = operator_pb2_grpc.OperatorServiceStub(channel)
        stub.GetOperatorSettings(operator_pb2.GetOperatorSettingsRequest(), timeout=10)

    def rotate(self, channel: grpc.Channel) -> None:
        """Add a version, register it, and wait until it signs."""
        before = self.keys(channel)
        register(self.sandbox, self.store.add())
        until = time.monotonic() + TAKEN_OVER_WITHIN_S
        while True:
            rows = self.keys(channel)
            active = [one.key_id for one in rows if one.state == keys_pb2.KEY_STATE_ACTIVE]
            if len(rows) > len(before) and active[0] not in {one.key_id for one in before}:
                return
            assert time.monotonic() < until, rows
            time.sleep(0.05)


@pytest.fixture
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    """A gateway that serves with the store of the parameter."""
    kind: str = request.param
    with ExitStack() as stack:
        store = {"transit": transit, "openbao": openbao, "aws": aws, "gcp": gcp, "softhsm": softhsm}[kind](tmp_path)
        stack.callback(lambda: store.close())
        sandbox = stack.enter_context(SandboxProcess())
        made = Bench(sandbox, store)
        stack.enter_context(made.gateway)
        yield made
        log = made.gateway.log_text
        assert [] == [one for one in store.planted if one in log]


@pytest.fixture
def channel(bench: Bench) -> Iterator[grpc.Channel]:
    with bench.gateway.open_channel() as opened:
        yield opened


@pytest.mark.parametrize("bench", STORES, indirect=True)
def test_the_store_signs_tokens_and_requests(bench: Bench, channel: grpc.Channel) -> None:
    """Phoenix verifies each; the key list names the reference and the version; a rotation fails nothing."""
    first = bench.mint(channel)
    for one in bench.mint_many(channel, 20):
        bench.verify(one.response.token)
    bench.operate(channel)
    (row,) = bench.keys(channel)
    assert (bench.store.reference, first) == (row.source, row.key_id)
    bench.rotate(channel)
    assert first != bench.mint(channel)
    bench.operate(channel)
    states = [one.state for one in bench.keys(channel)]
    assert [keys_pb2.KEY_STATE_ACTIVE, keys_pb2.KEY_STATE_RETIRING] == states


FAULTS = [
    ("transit", "sealed"), ("transit", "killed"), ("openbao", "sealed"), ("openbao", "killed"),
    *((store, fault) for store in ("aws", "gcp")
      for fault in ("slow", "garbage", "not_json", "wrong_key", "denied", "killed")),
]  # fmt: skip


@pytest.mark.faults
@pytest.mark.parametrize(("bench", "fault"), FAULTS, indirect=["bench"])
def test_a_store_that_does_not_sign_gives_no_token(bench: Bench, channel: grpc.Channel, fault: str) -> None:
    """Each call is UNAVAILABLE with RetryInfo, at once after a few; when the store signs again, calls succeed."""
    begin, end = bench.store.faults[fault]
    bench.mint(channel)
    begin()
    for _ in range(6):
        with pytest.raises(grpc.RpcError) as refused:
            bench.mint(channel)
        assert (grpc.StatusCode.UNAVAILABLE, "KEY_UNAVAILABLE") == (refused.value.code(), reason_of(refused.value))
        assert retry_after_s(refused.value) > 0
    for one in bench.mint_many(channel, 5):
        assert (14, "") == (one.error.code, one.response.token)
    with pytest.raises(grpc.RpcError) as refused:
        bench.operate(channel)
    assert "KEY_UNAVAILABLE" == reason_of(refused.value)
    (row,) = bench.keys(channel)
    assert row.note
    end()
    until = time.monotonic() + 60
    while True:
        try:
            bench.mint(channel)
            break
        except grpc.RpcError:
            assert time.monotonic() < until
            time.sleep(0.1)
    bench.operate(channel)


@pytest.mark.faults
@pytest.mark.parametrize("bench", STORES, indirect=True)
def test_twenty_rotations_fail_no_call(bench: Bench, channel: grpc.Channel) -> None:
    """Under callers that never stop. Every token verifies at Phoenix."""
    failed: list[str] = []
    ended = threading.Event()
    done = [0]

    def call() -> None:
        while not ended.is_set():
            try:
                bench.mint(channel)
                for one in bench.mint_many(channel, 5):
                    assert not one.error.code, one.error
                bench.operate(channel)
                done[0] += 1
            except Exception as error:
                failed.append(repr(error))

    callers = [threading.Thread(target=call) for _ in range(2)]
    for one in callers:
        one.start()
    try:
        for _ in range(ROTATIONS):
            bench.rotate(channel)
            assert [] == failed[:3]
    finally:
        ended.set()
        for one in callers:
            one.join()
    assert [] == failed
    assert done[0] > ROTATIONS
    assert ROTATIONS + 1 == len(bench.keys(channel))


@pytest.mark.parametrize("kind", ["aws", "softhsm"])
def test_a_store_that_is_away_stops_the_start_with_its_cause(
    kind: str, tmp_path: Path, sandbox: SandboxProcess
) -> None:
    """The message names the setting, the reference and the cause."""
    store = {"aws": aws, "softhsm": softhsm}[kind](tmp_path)
    if kind == "aws":
        store.close()
    else:
        (tmp_path / "pin").write_text("planted-wrong-pin")
    bench = Bench(sandbox, store)
    process = bench.gateway.spawn()
    process.wait(60)
    log = bench.gateway.log_text
    bench.gateway.stop(signal.SIGKILL)
    assert 0 != process.returncode
    assert f"PREDICTION_LAUNCH_KEY_REF: {store.reference}: " in log
    assert ("gives no answer" if kind == "aws" else "refuses the PIN") in log
    assert "planted" not in log
    store.close()
