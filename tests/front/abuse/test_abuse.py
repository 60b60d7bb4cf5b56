"""Attacks on the HTTP/2 front, both engines: memory stays bounded, and another caller is served all the while."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from gateway.front.http2.server import ServerBounds
from tests.front.abuse.attacks import ATTACKS
from tests.front.abuse.quiet_caller import QuietCaller
from tests.front.abuse.subject import ENGINES, ROOT, Attacked, attacked
from tests.gateway_process import resident_mib

GROWN_MIB = 100.0
"""An attacker's connection may hold 8 MiB of requests and 8 MiB of answers, with what Python needs for each piece."""


@pytest.fixture(scope="module", params=sorted(ENGINES))
def subject(request: pytest.FixtureRequest) -> Iterator[Attacked]:
    """One server for all attacks: what one leaves behind counts for the next."""
    with attacked(request.param, ServerBounds().broken_wait_s) as started:
        yield started


@pytest.fixture(scope="module", params=sorted(ENGINES))
def unguarded(request: pytest.FixtureRequest) -> Iterator[Attacked]:
    """As `subject`, but each connection is read at once: an attack of a moment would wait most of it."""
    with attacked(request.param, 0.0) as started:
        yield started


@contextmanager
def attacking(name: str, subject: Attacked, seconds: float) -> Iterator[subprocess.Popen[bytes]]:
    """Attack from another process; it ends by itself after so long."""
    command = [sys.executable, "-m", "tests.front.abuse.attacks", name, str(subject.port), str(seconds)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL)
    try:
        yield process
        assert process.wait(timeout=seconds + 20) == 0
    finally:
        if process.poll() is None:
            process.kill()


def peak_mib(subject: Attacked, process: subprocess.Popen[bytes]) -> float:
    """Return the most memory that the server takes while the attack goes on."""
    most = 0.0
    while process.poll() is None:
        most = max(most, resident_mib(subject.pid))
        time.sleep(0.02)
    return most


@pytest.mark.parametrize("name", sorted(ATTACKS))
def test_an_attack_costs_little_memory_and_no_other_call(name: str, unguarded: Attacked) -> None:
    """The other caller is served while it lasts: nearly all of its calls are answered, and none is left waiting."""
    with QuietCaller(unguarded.other_port) as caller:
        before = resident_mib(unguarded.pid)
        with attacking(name, unguarded, 0.4) as process:
            grown = peak_mib(unguarded, process) - before
    assert [] == caller.failed
    assert caller.refused <= 1 + caller.answered // 20
    assert grown < GROWN_MIB


@pytest.mark.faults
@pytest.mark.timeout(120)  # up to three rounds of ten seconds
@pytest.mark.parametrize("name", sorted(ATTACKS))
def test_an_attack_does_not_double_what_another_caller_waits(name: str, subject: Attacked) -> None:
    """p99 beside it is below twice that without it, in the best of three rounds: the machine has other work too."""
    ratios = []
    for _ in range(3):
        with QuietCaller(subject.other_port) as caller:
            before = resident_mib(subject.pid)
            time.sleep(5.0)
            alone = caller.p99_s()
            with attacking(name, subject, 5.5) as process:
                time.sleep(0.3)  # its start
                caller.p99_s()
                grown = peak_mib(subject, process) - before
                ratios.append(caller.p99_s() / alone)
        assert [] == caller.failed
        assert grown < GROWN_MIB
        if ratios[-1] < 2.0:
            return
    pytest.fail(f"p99 rose to {[round(one, 1) for one in ratios]} times")
