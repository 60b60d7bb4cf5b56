"""`events send` as users run it: each line once, in order, at the rate, and bad lines by their number."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.events_run import COUNT, NO_DEDUPLICATION, Run, assert_each_once, failed_lines, lines_in
from tests.gateway_process import ROOT, GatewayProcess, of_sandbox
from tests.integration.event_calls import scores_of
from tests.sandbox_process import SandboxProcess

pytestmark = pytest.mark.timeout(150)  # several starts, and runs of events, on a machine that may be busy


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
    Run(gateway, lines_in(tmp_path)).end()
    scores = scores_of(sandbox)
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


def test_what_all_lines_would_fail_with_ends_the_run(gateway: GatewayProcess, tmp_path: Path) -> None:
    """An unknown tenant is no fault of a line: nothing is put among the failed ones."""
    path = lines_in(tmp_path, 10)
    code, reported = Run(gateway, path, "--tenant", "nobody").end()
    assert (1, 0) == (code, reported["failed"])
    assert "TENANT_UNKNOWN" in reported["stopped_because"]
    assert failed_lines(path) == []
