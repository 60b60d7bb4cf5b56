"""`events send` interrupted or killed, with a gateway that stops or crashes and a Phoenix that refuses."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.config import DrainTimes
from tests.cli.events_run import COUNT, NO_DEDUPLICATION, Run, assert_each_once, failed_lines, lines_in, taken, wait_for
from tests.gateway_process import GatewayProcess, of_sandbox
from tests.sandbox_process import SandboxProcess

pytestmark = pytest.mark.timeout(150)  # several starts, and runs of events, on a machine that may be busy
INGESTION = {"surface": "ingestion", "path_prefix": "/v1/"}


@contextmanager
def doubtful(sandbox: SandboxProcess) -> Iterator[GatewayProcess]:
    """A gateway without PHOENIX_DEDUPLICATES_EVENTS and a sandbox without deduplication."""
    sandbox.control("POST", "/settings", {"dedupe": False})
    with GatewayProcess({**of_sandbox(sandbox.urls, sandbox.environ), **NO_DEDUPLICATION}) as process:
        yield process


def test_an_interrupted_run_leaves_nothing_unknown_and_continues(sandbox: SandboxProcess, tmp_path: Path) -> None:
    """Ctrl-C waits for events in flight. The next run sends the rest, also without deduplication."""
    path = lines_in(tmp_path)
    with doubtful(sandbox) as gateway:
        run = Run(gateway, path, "--rate", "1000")
        wait_for(lambda: taken(sandbox) > 0)
        run.kill(signal.SIGINT)
        code, reported = run.end()
        assert (1, False, "interrupted") == (code, reported["complete"], reported["stopped_because"])
        assert taken(sandbox) == reported["accepted"] < COUNT
        code, reported = Run(gateway, path).end()
        assert (0, COUNT, 0) == (code, reported["accepted"], reported["duplicate"])
    assert_each_once(sandbox)


@pytest.mark.parametrize("rate", ["2000", "6000"])
def test_a_killed_run_continues(gateway: GatewayProcess, sandbox: SandboxProcess, tmp_path: Path, rate: str) -> None:
    """Lines without an answer are sent again under their ids: the gateway remembers them."""
    path = lines_in(tmp_path)
    run = Run(gateway, path, "--rate", rate)
    wait_for(lambda: taken(sandbox) > 0)
    run.kill(signal.SIGKILL)
    run.end()
    code, reported = Run(gateway, path).end()
    assert (0, COUNT) == (code, reported["accepted"] + reported["duplicate"])
    assert_each_once(sandbox)


def test_a_gateway_that_stops_leaves_no_doubt(sandbox: SandboxProcess, tmp_path: Path) -> None:
    """The run continues with the next process. Without deduplication, no event is lost, repeated or unknown."""
    path = lines_in(tmp_path)
    with doubtful(sandbox) as gateway:
        run = Run(gateway, path, "--rate", "1000")
        before = 0
        for _ in range(2):
            wait_for(lambda at=before: taken(sandbox) > at)  # type: ignore[misc]  # the default binds the value
            began = time.monotonic()
            assert gateway.stop() == 0
            assert time.monotonic() - began < DrainTimes().timeout_s  # the stream did not hold it for all of that time
            before = taken(sandbox)
            gateway.start()
        code, reported = run.end()
        assert (0, COUNT, {}) == (code, reported["accepted"], reported["failed_by_reason"]), run.messages
    assert_each_once(sandbox)


def test_a_gateway_that_dies_leaves_unknown_what_it_had_and_nothing_else(
    sandbox: SandboxProcess, tmp_path: Path
) -> None:
    """Lines that only the killed process remembered are listed, not sent again. Each counts once or is unknown."""
    path = lines_in(tmp_path)
    with doubtful(sandbox) as gateway:
        run = Run(gateway, path, "--rate", "1000")
        wait_for(lambda: taken(sandbox) > 0)
        gateway.stop(signal.SIGKILL)
        gateway.start()
        code, reported = run.end()
    unknown = [one for one in failed_lines(path) if one["reason"] == "OUTCOME_UNKNOWN"]
    assert (3, True, len(unknown)) == (code, reported["complete"], reported["failed"])
    assert COUNT == reported["accepted"] + len(unknown)
    assert sandbox.control("POST", "/effects", {})["more_than_once"] == []
    effects = sandbox.control("POST", "/effects", {"event_ids": [one["event_id"] for one in unknown]})
    assert effects["total"] == reported["accepted"] + sum(effects["effects"].values())


def test_lines_of_unknown_outcome_are_sent_again_on_demand(sandbox: SandboxProcess, tmp_path: Path) -> None:
    """If Phoenix deduplicates, a killed gateway causes no unknown line."""
    path = lines_in(tmp_path)
    with GatewayProcess(of_sandbox(sandbox.urls, sandbox.environ)) as gateway:
        run = Run(gateway, path, "--rate", "4000", "--resend-unknown")
        wait_for(lambda: taken(sandbox) > 0)
        gateway.stop(signal.SIGKILL)
        gateway.start()
        code, reported = run.end()
        assert (0, COUNT) == (code, reported["accepted"] + reported["duplicate"]), run.messages
    assert_each_once(sandbox)


def test_durable_lines_are_queued_once_over_a_killed_run(
    gateway: GatewayProcess, sandbox: SandboxProcess, tmp_path: Path
) -> None:
    """The store knows the ids of what it has; all of it is delivered."""
    path = lines_in(tmp_path)
    run = Run(gateway, path, "--durable", "--rate", "4000")
    wait_for(lambda: taken(sandbox) > 0)
    run.kill(signal.SIGKILL)
    run.end()
    code, reported = Run(gateway, path, "--durable").end()
    assert (0, COUNT, 0) == (code, reported["queued"] + reported["duplicate"], reported["accepted"]), reported
    wait_for(lambda: taken(sandbox) == COUNT)
    assert_each_once(sandbox)


@pytest.mark.faults
@pytest.mark.timeout(180)  # leases of the dead are waited for
def test_durable_lines_survive_any_death_of_the_gateway(sandbox: SandboxProcess, tmp_path: Path) -> None:
    """The run continues after lost answers, and each line is delivered once."""
    path = lines_in(tmp_path)
    with GatewayProcess(of_sandbox(sandbox.urls, sandbox.environ)) as gateway:
        run = Run(gateway, path, "--durable", "--rate", "2000")
        before = 0
        for _ in range(3):
            wait_for(lambda at=before: taken(sandbox) > at, 60)  # type: ignore[misc]  # the default binds the value
            gateway.stop(signal.SIGKILL)
            before = taken(sandbox)
            gateway.start()
        code, reported = run.end()
        assert (0, COUNT, 0) == (code, reported["queued"] + reported["duplicate"], reported["failed"]), run.messages
        wait_for(lambda: taken(sandbox) == COUNT, 60)
    assert_each_once(sandbox)


def test_trouble_that_passes_is_waited_for(gateway: GatewayProcess, sandbox: SandboxProcess, tmp_path: Path) -> None:
    """Phoenix answers 503 for a while, long enough to open the circuit: the lines come again until they are taken."""
    path = lines_in(tmp_path, 500)
    sandbox.control("POST", "/faults", {**INGESTION, "kind": "status", "status": 503, "times": 12})
    code, reported = Run(gateway, path).end()
    assert (0, 500) == (code, reported["accepted"])
    assert_each_once(sandbox, 500)


def test_trouble_that_stays_ends_the_run_and_loses_nothing(
    gateway: GatewayProcess, sandbox: SandboxProcess, tmp_path: Path
) -> None:
    """Past its patience the run ends unfinished, with no line failed; the next one does it."""
    path = lines_in(tmp_path, 500)
    sandbox.control("POST", "/faults", {**INGESTION, "kind": "status", "status": 503})
    code, reported = Run(gateway, path, "--patience", "0.5").end()
    assert (1, 0, 0) == (code, reported["accepted"], reported["failed"])
    assert "no line was accepted" in reported["stopped_because"]
    sandbox.control("DELETE", "/faults")
    assert Run(gateway, path).end()[0] == 0
    assert_each_once(sandbox, 500)


def test_an_interrupt_is_heard_while_no_gateway_is_there(sandbox: SandboxProcess, tmp_path: Path) -> None:
    """While the run waits for a gateway, Ctrl-C ends it with the reason, and the next run continues."""
    path = lines_in(tmp_path, 600)
    with GatewayProcess(of_sandbox(sandbox.urls, sandbox.environ)) as gateway:
        run = Run(gateway, path, "--rate", "500")
        wait_for(lambda: taken(sandbox) > 0)
        gateway.stop()
        run.kill(signal.SIGINT)
        code, reported = run.end()
        assert (1, "interrupted", 0) == (code, reported["stopped_because"], reported["failed"])
        gateway.start()
        code, reported = Run(gateway, path).end()
    assert (0, 600) == (code, reported["accepted"] + reported["duplicate"])
    assert_each_once(sandbox, 600)


def test_two_runs_of_one_file_do_not_meet(gateway: GatewayProcess, sandbox: SandboxProcess, tmp_path: Path) -> None:
    """The second is refused while the first is at it, and takes it up afterwards."""
    path = lines_in(tmp_path, 300)
    first = Run(gateway, path, "--rate", "5")
    wait_for(lambda: taken(sandbox) > 0)
    second = Run(gateway, path)
    assert second.end()[0] == 2
    assert "another run" in second.messages
    first.kill(signal.SIGINT)
    assert first.end()[0] == 1
    assert Run(gateway, path).end()[0] == 0
    assert_each_once(sandbox, 300)
