"""`events send` as users run it: interrupted or killed, with a gateway that stops, crashes or refuses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.config import DrainTimes
from tests.gateway_process import ROOT, GatewayProcess, of_sandbox
from tests.sandbox_process import SandboxProcess

pytestmark = pytest.mark.timeout(150)  # several starts, and runs of events, on a machine that may be busy
COUNT = 3000
NO_DEDUPLICATION = {"PHOENIX_DEDUPLICATES_EVENTS": "false"}
INGESTION = {"surface": "ingestion", "path_prefix": "/v1/"}


class Run:
    """One `events send`."""

    def __init__(self, gateway: GatewayProcess, file: Path | str, *options: str, stdin: Any = None) -> None:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        command = [sys.executable, "-m", "gateway", "events", "send", str(file), "--target", gateway.address, "--json"]
        self.process = subprocess.Popen(
            [*command, *options],
            cwd=file.parent if isinstance(file, Path) else None,
            env={**kept, "PYTHONPATH": str(ROOT)},
            stdin=stdin or subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.messages = ""

    def end(self) -> tuple[int, dict[str, Any]]:
        """Wait; return exit code and summary."""
        out, reported = self.process.communicate(timeout=100)
        self.messages = reported.decode()
        return self.process.returncode, json.loads(out) if out else {}

    def kill(self, number: int) -> None:
        self.process.send_signal(number)


def lines_in(folder: Path, count: int = COUNT) -> Path:
    """A file of events, users in turn."""
    path = folder / "events.jsonl"
    run = uuid.uuid4().hex  # the gateway of other tests remembers ids, which follow from the lines
    events = (
        {"leaderboard_id": "xp", "user_id": f"u{n % 50}", "score_delta": n + 1, "metadata": {"run": run}}
        for n in range(count)
    )
    path.write_text("".join(json.dumps(one) + "\n" for one in events))
    return path


def failed_lines(path: Path) -> list[dict[str, Any]]:
    file = path.with_name(path.name + ".failed.jsonl")
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def taken(sandbox: SandboxProcess) -> int:
    return int(sandbox.control("POST", "/effects", {})["total"])


def assert_each_once(sandbox: SandboxProcess, count: int = COUNT) -> None:
    counted = sandbox.control("POST", "/effects", {})
    assert ([], count, count) == (counted["more_than_once"], counted["event_ids"], counted["total"])


def wait_for(condition: Callable[[], bool], within_s: float = 30.0) -> None:
    until = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


@contextmanager
def doubtful(sandbox: SandboxProcess) -> Iterator[GatewayProcess]:
    """A gateway without PHOENIX_DEDUPLICATES_EVENTS and a sandbox without deduplication."""
    sandbox.control("POST", "/settings", {"dedupe": False})
    with GatewayProcess({**of_sandbox(sandbox.urls, sandbox.environ), **NO_DEDUPLICATION}) as process:
        yield process


def test_a_file_is_sent_once_however_often_it_is_run(
    gateway: GatewayProcess, sandbox: SandboxProcess, tmp_path: Path
) -> None:
    """The second run reports that everything was sent before. The third run sends lines that were appended since."""
    path = lines_in(tmp_path)
    code, reported = Run(gateway, path).end()
    assert (0, True, COUNT) == (code, reported["complete"], reported["accepted"])
    assert_each_once(sandbox)
    code, reported = Run(gateway, path).end()
    assert (0, COUNT) == (code, reported["in_earlier_runs"])
    with path.open("a") as more:
        more.write('{"leaderboard_id": "xp", "user_id": "late", "score_delta": 1}\n')
    code, reported = Run(gateway, path).end()
    assert (0, COUNT + 1) == (code, reported["accepted"])
    assert_each_once(sandbox, COUNT + 1)


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
        for _ in range(2):
            before = taken(sandbox)
            wait_for(lambda at=before: taken(sandbox) > at)  # type: ignore[misc]  # the default binds the value
            began = time.monotonic()
            assert gateway.stop() == 0
            assert time.monotonic() - began < DrainTimes().timeout_s  # the stream did not hold it for all of that time
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
        for _ in range(3):
            before = taken(sandbox)
            wait_for(lambda at=before: taken(sandbox) > at, 60)  # type: ignore[misc]  # the default binds the value
            gateway.stop(signal.SIGKILL)
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


def test_bad_lines_are_reported_by_number_and_the_rest_is_sent(
    gateway: GatewayProcess, sandbox: SandboxProcess, tmp_path: Path
) -> None:
    """Events that the gateway refuses and lines that are not events, each with its reason and its text."""
    good = b'{"leaderboard_id": "xp", "user_id": "ada", "score_delta": 1}'
    bad = [
        (b"no json", "BAD_LINE", "not one JSON object"),
        (b'{"leaderboard_id": "xp", "user_id": "ada", "score": 1}', "BAD_LINE", "score"),
        (b'{"leaderboard_id": "xp", "user_id": "ada", "user_id": "b"}', "BAD_LINE", "twice"),
        (b'{"leaderboard_id": "xp", "user_id": "\xff"}', "BAD_LINE", "UTF-8"),
        (b'{"leaderboard_id": "xp", "user_id": "", "score_delta": 1}', "INVALID_FIELD", "user_id"),
        (b'{"leaderboard_id": "xp", "user_id": "ada"}', "INVALID_FIELD", "score_delta"),
        (good[:-1] + b', "metadata": ' + b'{"a":' * 33 + b"1" + b"}" * 33 + b"}", "INVALID_FIELD", "levels"),
        (good[:-1] + b', "tenant_id": "other"}', "BAD_LINE", "tenant_id"),
        (b'{"user_id": "' + b"x" * 1_000_001 + b'"}', "BAD_LINE", "longer"),
    ]
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"".join(line + b"\n\n" + good + b"\n" for line, _, _ in bad))
    run = Run(gateway, path, "--tenant", sandbox.environ["TENANT_ID"])
    code, reported = run.end()
    assert (3, len(bad), len(bad)) == (code, reported["accepted"], reported["failed"])
    found = sorted(failed_lines(path), key=lambda one: int(one["line"]))
    assert [(3 * place + 1, reason) for place, (_, reason, _) in enumerate(bad)] == [
        (one["line"], one["reason"]) for one in found
    ]
    assert all(word in one["message"] for one, (_, _, word) in zip(found, bad, strict=True))
    assert bad[0][0].decode() == found[0]["text"]


def test_standard_input_is_sent_and_says_that_it_cannot_be_taken_up(
    gateway: GatewayProcess, sandbox: SandboxProcess, tmp_path: Path
) -> None:
    """The same lines again are duplicates by the ids that follow from them; another label makes other events."""
    path = lines_in(tmp_path, 200)
    for options, name in (((), "accepted"), ((), "duplicate"), (("--label", "again"), "accepted")):
        with path.open("rb") as source:
            code, reported = Run(gateway, "-", *options, stdin=source).end()
        assert (0, 200, None) == (code, reported[name], reported["progress_file"])
    assert_each_once(sandbox, 400)
    with path.open("rb") as source:
        run = Run(gateway, "-", "--progress", str(tmp_path / "kept"), stdin=source)
        assert (2, {}) == run.end()
        assert "--progress" in run.messages


def test_each_users_lines_are_sent_in_their_order(
    gateway: GatewayProcess, sandbox: SandboxProcess, tmp_path: Path
) -> None:
    """Over all messages of the stream."""
    import base64

    Run(gateway, lines_in(tmp_path)).end()
    scores: dict[str, list[int]] = {}
    requests = sandbox.control("GET", "/requests?surface=ingestion")["requests"]
    for one in (each for each in requests if each["path"] == "/v1/events/bulk"):
        for sent in json.loads(base64.b64decode(one["body_base64"]))["events"]:
            scores.setdefault(sent["user_id"], []).append(sent["score_delta"])
    assert 50 == len(scores)
    assert all(each == sorted(each) for each in scores.values())


def test_only_a_terminal_gets_a_progress_bar(gateway: GatewayProcess, tmp_path: Path) -> None:
    """On standard error, so that programs can read standard output."""
    ours, theirs = os.openpty()
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    command = [sys.executable, "-m", "gateway", "events", "send", str(lines_in(tmp_path)), "--target", gateway.address]
    process = subprocess.Popen(
        [*command, "--rate", "3000", "--json"],
        env={**kept, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "120"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=theirs,
    )
    os.close(theirs)
    drawn = b""
    try:
        while chunk := os.read(ours, 65536):
            drawn += chunk
    except OSError:
        pass  # how a terminal signals the end of input
    os.close(ours)
    printed, _ = process.communicate(timeout=30)
    assert (0, COUNT) == (process.returncode, json.loads(printed)["accepted"])
    assert drawn.count(b" events, ") > 2
    run = Run(gateway, tmp_path / "events.jsonl")
    assert run.end()[0] == 0
    assert "events, " not in run.messages


def test_no_second_sees_more_than_the_rate(gateway: GatewayProcess, tmp_path: Path) -> None:
    """200 events at 100 a second take most of two seconds."""
    code, reported = Run(gateway, lines_in(tmp_path, 200), "--rate", "100").end()
    assert (0, 200) == (code, reported["accepted"])
    assert reported["seconds"] > 1.6


def test_a_limit_of_the_caller_is_kept_to(sandbox: SandboxProcess, tmp_path: Path) -> None:
    """The gateway ends the stream at each message above the limit. Smaller messages follow."""
    policy = tmp_path / "gateway.toml"
    policy.write_text(
        '[[callers]]\nname = "local"\nallow = ["events.write"]\ntenants = ["*"]\nlimits = {events_per_s = 100}\n'
    )
    sandbox.control("POST", "/settings", {"dedupe": False})
    environ = {**of_sandbox(sandbox.urls, sandbox.environ), **NO_DEDUPLICATION, "GATEWAY_CONFIG": str(policy)}
    with GatewayProcess(environ) as gateway:
        code, reported = Run(gateway, lines_in(tmp_path, 300)).end()
    assert (0, 300, 0) == (code, reported["accepted"], reported["failed"])
    assert_each_once(sandbox, 300)


def test_a_file_that_was_changed_is_not_gone_on_with(
    gateway: GatewayProcess, sandbox: SandboxProcess, tmp_path: Path
) -> None:
    """Its line numbers mean other events now; options that change the ids are refused likewise."""
    path = lines_in(tmp_path, 10)
    assert Run(gateway, path).end()[0] == 0
    for options in (("--label", "other"), ("--tenant", "other")):
        run = Run(gateway, path, *options)
        assert run.end()[0] == 2
        assert options[0] in run.messages
    path.write_text(path.read_text().replace('"u1"', '"u9"'))
    run = Run(gateway, path)
    assert run.end()[0] == 2
    assert "has changed" in run.messages
    assert_each_once(sandbox, 10)


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


def test_what_all_lines_would_fail_with_ends_the_run(gateway: GatewayProcess, tmp_path: Path) -> None:
    """An unknown tenant is no fault of a line: nothing is put among the failed ones."""
    path = lines_in(tmp_path, 10)
    code, reported = Run(gateway, path, "--tenant", "nobody").end()
    assert (1, 0) == (code, reported["failed"])
    assert "TENANT_UNKNOWN" in reported["stopped_because"]
    assert failed_lines(path) == []
