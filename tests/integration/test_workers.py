"""Several processes behind one port: one that dies is replaced, a roll costs no call, none outlives its parent."""

from __future__ import annotations

import os
import signal
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import grpc
import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.v1 import common_pb2, tokens_pb2, tokens_pb2_grpc
from tests.gateway_process import GatewayProcess, of_sandbox, reason_of
from tests.integration.board_watching import Reader, Scores, Watcher, running, until
from tests.rolling_restarts import NO_RETRIES, SteadyCalls
from tests.sandbox.client import Client
from tests.sandbox_process import SandboxProcess

REQUEST = tokens_pb2.MintLaunchJWTRequest(visitor=tokens_pb2.VisitorSession())
LIMITED = """
[tenant_limits]
"acme/sandbox" = {{requests_per_s = {per_s}}}

[[callers]]
name = "local"
allow = ["*"]
tenants = ["*"]
operators = ["*"]
"""
SOCKET = common_pb2.FRESHNESS_SOURCE_SOCKET
pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def group(sandbox: SandboxProcess) -> Iterator[GatewayProcess]:
    """Two workers, both ready."""
    settings = {
        **of_sandbox(sandbox.urls, sandbox.environ),
        "GATEWAY_WORKERS": "2",
        "GATEWAY_FRONT": "http2",
        "GATEWAY_DRAIN_DELAY": "0.2",
        "GATEWAY_DRAIN_TIMEOUT": "5",
    }
    with GatewayProcess(settings) as process:
        wait(lambda: report(process).get("workers") == {"0": True, "1": True})
        yield process


def wait(condition: Callable[[], bool], within_s: float = 30.0) -> None:
    """Return when the condition holds. Raises: AssertionError."""
    until = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def report(group: GatewayProcess) -> dict[str, Any]:
    """What /readyz says; empty while nothing answers."""
    try:
        with urlopen(f"http://{group.admin_address}/readyz", timeout=5) as answer:
            return dict(orjson.loads(answer.read()))
    except HTTPError as refused:
        return dict(orjson.loads(refused.read()))
    except OSError:
        return {}


def workers(group: GatewayProcess) -> list[int]:
    """The process ids of the workers."""
    return [int(pid) for pid in Path(f"/proc/{group.pid}/task/{group.pid}/children").read_text().split()]


def mint(group: GatewayProcess) -> str:
    """One call over a new connection of a client that checks health; the status of its failure, or nothing."""
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.service_config", NO_RETRIES)]
    with grpc.insecure_channel(group.address, options=options) as channel:
        try:
            tokens_pb2_grpc.TokenServiceStub(channel).MintLaunchJWT(REQUEST, timeout=10)
        except grpc.RpcError as failed:
            return f"{failed.code()} {failed.details()}"
    return ""


def sampled(group: GatewayProcess, metric: str, **labels: str) -> dict[str, float]:
    """A metric of each worker, with these labels, as the page of metrics says."""
    with urlopen(f"http://{group.admin_address}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    return {
        sample.labels["worker"]: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == metric and labels.items() <= sample.labels.items()
    }


def minted(group: GatewayProcess) -> dict[str, float]:
    """The calls of MintLaunchJWT that each worker answered."""
    method = "/phoenix.gateway.v1.TokenService/MintLaunchJWT"
    return sampled(group, "phoenix_gateway_calls_total", method=method, status="OK")


def test_one_page_shows_all_workers(group: GatewayProcess) -> None:
    """Each sample names its worker; the calls of both add up."""
    assert [failure for failure in (mint(group) for _ in range(20)) if failure] == []
    by_worker = minted(group)
    assert by_worker.keys() == {"0", "1"}
    assert sum(by_worker.values()) == 20


def test_all_workers_together_keep_a_limit_without_redis(sandbox: SandboxProcess, tmp_path: Path) -> None:
    """Many connections offer more than the limit: at first a second's worth passes, then as much each second."""
    per_s, offered_s, connections = 20, 4.0, 24
    policy = tmp_path / "policy.toml"
    policy.touch(mode=0o600)
    policy.write_text(LIMITED.format(per_s=per_s))
    settings = {**of_sandbox(sandbox.urls, sandbox.environ), "GATEWAY_CONFIG": str(policy), "GATEWAY_FRONT": "http2"}
    with GatewayProcess({**settings, "GATEWAY_WORKERS": "2"}) as limited, ThreadPoolExecutor(connections) as pool:
        wait(lambda: report(limited).get("workers") == {"0": True, "1": True})
        began = time.monotonic()
        reasons = Counter[str]()
        for one in pool.map(lambda _: offered(limited, began + offered_s), range(connections)):
            reasons += one
        took_s = time.monotonic() - began
        by_worker = minted(limited)
    assert set(reasons) == {"OK", "RATE_LIMITED"}
    assert reasons["OK"] <= per_s * took_s + per_s
    assert sum(by_worker.values()) == reasons["OK"]
    assert all(by_worker[worker] > 0 for worker in ("0", "1"))


def offered(group: GatewayProcess, until: float) -> Counter[str]:
    """Call over one connection until then; return how often each reason came."""
    reasons = Counter[str]()
    with grpc.insecure_channel(group.address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        stub = tokens_pb2_grpc.TokenServiceStub(channel)
        while time.monotonic() < until:
            try:
                stub.MintLaunchJWT(REQUEST, timeout=30)
            except grpc.RpcError as refused:
                reasons[reason_of(refused)] += 1
            else:
                reasons["OK"] += 1
    return reasons


def test_a_worker_that_dies_is_replaced_and_no_later_call_fails(group: GatewayProcess) -> None:
    """Connections wait in the socket that the parent keeps."""
    before = workers(group)
    os.kill(before[0], signal.SIGKILL)
    killed_at = time.monotonic()
    wait(lambda: before[0] not in workers(group))
    with ThreadPoolExecutor(4) as pool:
        failures = [one for one in pool.map(lambda _: mint(group), range(60)) if one]
    assert failures == []
    wait(lambda: len(workers(group)) == 2 and report(group).get("workers") == {"0": True, "1": True})
    assert time.monotonic() - killed_at < 20
    assert "a worker ended by itself and is started again" in group.log_text


def test_a_roll_replaces_every_worker_without_a_failed_call(group: GatewayProcess) -> None:
    """SIGHUP, under calls over new and old connections of clients that check health."""
    before = set(workers(group))
    failures: list[str] = []
    steady = SteadyCalls(group.address, NO_RETRIES, 40, connections=4)
    with ThreadPoolExecutor(1) as pool:
        os.kill(group.pid, signal.SIGHUP)
        rolling = pool.submit(wait, lambda: "workers rolled" in group.log_text, 60)
        while not rolling.done():
            failures.append(mint(group))
        rolling.result()
    steady.stop()
    assert Counter() == steady.failures
    assert [failure for failure in failures if failure] == []
    assert len(failures) > 10
    assert before.isdisjoint(workers(group))
    assert report(group)["workers"] == {"0": True, "1": True}


def test_workers_end_with_their_parent(group: GatewayProcess) -> None:
    """A parent that is killed leaves nobody who serves on."""
    orphans = workers(group)
    os.kill(group.pid, signal.SIGKILL)
    wait(lambda: not any(Path(f"/proc/{pid}").exists() and _is_alive(pid) for pid in orphans), 15)


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_workers_that_cannot_start_end_the_gateway(sandbox: SandboxProcess, tmp_path: Path) -> None:
    """A fault that each of them would meet again is no reason to go on trying."""
    data = tmp_path / "data"
    data.write_text("no directory")
    settings = {**of_sandbox(sandbox.urls, sandbox.environ), "GATEWAY_WORKERS": "2", "GATEWAY_FRONT": "http2"}
    process = GatewayProcess({**settings, "GATEWAY_DATA_DIR": str(data / "below")})
    try:
        assert process.spawn().wait(timeout=40) != 0
    finally:
        process.stop()


def test_a_stop_during_a_roll_ends_all(group: GatewayProcess) -> None:
    """The old worker gets the signal too, although the new one has its place."""
    before = workers(group)
    os.kill(group.pid, signal.SIGHUP)
    wait(lambda: len(workers(group)) == 3)
    os.kill(group.pid, signal.SIGTERM)
    group.wait_end(25)
    assert not any(_is_alive(pid) for pid in before)


async def test_a_board_has_one_socket_for_all_workers(group: GatewayProcess, sandbox: SandboxProcess) -> None:
    """Watchers of each worker see every change, and reads are as fresh as they say; also when the owner dies."""
    board = Scores(board=f"shared-{uuid.uuid4().hex[:8]}", scores={f"user-{n:03}": 500.0 - n for n in range(40)})
    board.make(sandbox)
    sandbox.control("POST", "/sockets", {"reset": True})
    # So many that each worker gets some: the kernel divides the connections as it likes.
    watchers = [Watcher(board.board, lambda: group.address) for _ in range(20)]
    readers = [Reader(board, lambda: group.address, staleness_s) for staleness_s in (0.05, 0.5) for _ in range(4)]
    async with running(*watchers, *readers), Client(sandbox) as client:

        async def moves() -> None:
            for _ in range(10):
                await board.move(client)
                await until(lambda: all(watcher.shows(board) for watcher in watchers))

        await moves()
        assert 1 == sandbox.control("POST", "/sockets", {})["opened"]
        opened = sampled(group, "phoenix_gateway_live_board_events_total", event="opened")
        shared = sampled(group, "phoenix_gateway_live_board_events_total", event="shared")
        assert {"0": 1, "1": 1} == opened
        (owner,) = (worker for worker, count in shared.items() if not count)
        os.kill(workers(group)[int(owner)], signal.SIGKILL)
        await moves()
    assert [[]] * 20 == [watcher.broken for watcher in watchers]
    assert [[]] * 8 == [reader.too_old for reader in readers]
    assert all(reader.sources.get(SOCKET, 0) > 0 for reader in readers)
