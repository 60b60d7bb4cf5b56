"""The open load against a real HTTP/2 front: due calls are sent, answers and failures are told apart."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench import http2, open_loop
from bench.open_loop import Phase, _kind, _turn, run
from gateway.front.http2.call_runner import overloaded_trailers

ROOT = Path(__file__).resolve().parents[2]
PATH = "/phoenix.bench.Echo/Echo"
ROUNDS = 5
"""A busy machine is late with a call in some of them, not in all."""


@pytest.fixture(scope="module")
def port() -> Iterator[str]:
    """An empty handler on the HTTP/2 front."""
    with subprocess.Popen(
        [sys.executable, "-m", "bench.front_server", "--path", PATH], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        yield server.stdout.readline().strip()
        server.terminate()


def test_every_due_call_is_sent_and_timed(port: str) -> None:
    """Two phases with their own rates; nothing is lost at the border."""
    phases = [Phase(rate=200.0, seconds=0.3), Phase(rate=100.0, seconds=0.2)]
    load = run(port, PATH, b"\n\x02hi", phases, 3, 2000.0)
    for phase, due in zip(load.phases, (60, 20), strict=True):
        assert phase.due == due
        assert (phase.due, 0, {}) == (phase.ok, phase.refused, phase.failed)
        assert 0 < phase.p50_ms <= phase.p99_ms


def test_what_was_due_while_the_load_did_not_run_is_sent(port: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if its phase is over then: it is counted there, with the time that it waited."""

    def turn_late(*arguments: Any) -> None:
        _turn(*arguments)
        time.sleep(0.05)

    monkeypatch.setattr(open_loop, "_turn", turn_late)
    phases = [Phase(rate=200.0, seconds=0.12), Phase(rate=100.0, seconds=0.12)]
    load = run(port, PATH, b"\n\x02hi", phases, 3, 2000.0)
    assert [(24, 24), (12, 12)] == [(phase.due, phase.ok) for phase in load.phases]


def test_a_call_is_sent_when_it_is_due(port: str) -> None:
    """Not when the next one is: its time would be that between two calls, and hide how slow the server is."""
    medians_ms: list[float] = []
    while not medians_ms or (medians_ms[-1] >= 125 and len(medians_ms) < ROUNDS):
        (phase,) = run(port, PATH, b"\n\x02hi", [Phase(rate=4.0, seconds=1.0)], 1, 2000.0).phases
        assert (4, 4) == (phase.due, phase.ok)
        medians_ms.append(phase.p50_ms)
    assert min(medians_ms) < 125


def test_a_failure_is_told_by_its_status(port: str) -> None:
    """A method that nobody serves: no answer is a success, and each is bad for the recovery."""
    (phase,) = run(port, "/no.Such/Method", b"", [Phase(rate=100.0, seconds=0.2)], 1, 2000.0).phases
    assert (0, {"12 ": phase.due}) == (phase.ok, phase.failed)
    assert phase.last_bad_s > 0.1


def test_a_refusal_is_told_by_its_reason() -> None:
    """OVERLOADED is not any RESOURCE_EXHAUSTED."""
    block = b"".join(
        b"\x00" + http2._text(name.decode()) + http2._text(value.decode()) for name, value in overloaded_trailers()
    )
    assert "8 OVERLOADED" == _kind(block, {})
    assert "reset" == _kind(None, {})
