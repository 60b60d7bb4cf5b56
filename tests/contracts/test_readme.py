"""The README, followed word for word: what `make run` prints, the calls with their answers, the Python caller."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.document_lines import CALL, ROOT, blocks, call_lines, texts

README = ROOT / "README.md"
STARTS_WITHIN_S = 60.0
pytestmark = pytest.mark.timeout(180)


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """What `make run` started."""

    text: str
    address: str
    folder: Path


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """`make run` with its own folder, stopped by Ctrl-C."""
    folder = tmp_path_factory.mktemp("run")
    log = folder / "printed"
    with log.open("wb") as stream:
        command = [sys.executable, "-m", "tools.local", "run", "--folder", str(folder), "--free-ports"]
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream)
    try:
        until = time.monotonic() + STARTS_WITHIN_S
        while "Ctrl-C" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.1)
        address = re.search(r"^gateway +(\S+)", log.read_text(), re.MULTILINE)
        assert address is not None
        yield Running(text=log.read_text(), address=address[1], folder=folder)
    finally:
        process.terminate()
        process.wait(timeout=30)


def test_the_steps_are_as_quoted(running: Running) -> None:
    """Each row of the quoted table is printed; what varies is cut off by an ellipsis."""
    quoted = next(one.text for one in blocks(README) if one.text.startswith("gateway "))
    printed = {row[0]: row[2:4] for row in map(_cells, running.text.splitlines()) if len(row) == 5}
    for line in quoted.splitlines():
        step, result, detail = re.split(r"  +", line, maxsplit=2)
        found_result, found_detail = printed[step]
        assert found_result == result
        assert _varied(found_detail).startswith(_varied(detail).removesuffix("…"))


def test_the_calls_are_those_that_are_printed(running: Running) -> None:
    """README and `make run` show the same lines."""
    printed = [line.strip() for line in running.text.splitlines() if line.strip().startswith(CALL)]
    assert [_placed(line, running) for line in call_lines(README)] == printed


def test_each_call_answers_as_quoted(running: Running) -> None:
    """Every quoted member is present with its value, and no other, except where the README has an ellipsis."""
    for line, quoted in _calls():
        command = shlex.split(_placed(line, running))
        until = time.monotonic() + 10.0
        while True:  # the sandbox counts an event a little later
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=50, check=False)
            assert (done.returncode, done.stderr) == (0, ""), line
            if _matches(quoted, json.loads(done.stdout)) or time.monotonic() > until:
                break
            time.sleep(0.2)
        assert _matches(quoted, json.loads(done.stdout)), done.stdout


def test_every_printed_command_works_with_an_empty_environment(running: Running) -> None:
    """Nothing is on a PATH, and no setting is inherited: what points a command at the gateway is in its line."""
    lines = re.findall(r"^  (\S+/phoenix-gateway .+)$", running.text, re.MULTILINE)
    assert len(lines) == 8
    for line in lines:
        done = subprocess.run(
            ["/bin/sh", "-c", line], cwd=ROOT, env={}, capture_output=True, text=True, timeout=50, check=False
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"


def test_the_python_caller_works(running: Running) -> None:
    """It runs as it is printed, and prints an event id."""
    code = texts(README, "python")[0]
    assert len(code.strip().splitlines()) == 8
    code = code.replace("127.0.0.1:50051", running.address)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True
    )
    assert re.fullmatch(r"[0-9a-f-]{36}\n", done.stdout)


def test_it_is_one_screen_and_a_half() -> None:
    """The rest belongs into docs/."""
    assert len(README.read_text().splitlines()) <= 100


def _calls() -> list[tuple[str, Any]]:
    """Return each call with the answer that is quoted below it."""
    block = next(text for text in texts(README, "sh") if text.startswith(CALL))
    parts = [part.partition("\n") for part in block.strip().split("\n\n")]
    return [(line, json.loads(answer)) for line, _, answer in parts]


def _placed(line: str, running: Running) -> str:
    return line.replace("127.0.0.1:50051", running.address).replace("var/run/", f"{running.folder}/")


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("│ ").split("│")] if line.startswith("│") else []


def _varied(text: str) -> str:
    """Blank out ids and keys."""
    return re.sub(r"[0-9a-f]{8,}(-…)?", "#", text)


_VARIES = re.compile(r"\d{4}-\d\d-\d\dT[0-9:.]+Z|[0-9.]+s|http://127\.0\.0\.1:\d+")


def _matches(quoted: Any, found: Any) -> bool:
    """Compare. An ellipsis replaces the rest of a text or for further members. Times and ports vary."""
    if isinstance(quoted, dict) and isinstance(found, dict):
        named = quoted.keys() - {"…"}
        if not named <= found.keys() or ("…" not in quoted and found.keys() != named):
            return False
        return all(_matches(quoted[name], found[name]) for name in named)
    if isinstance(quoted, list) and isinstance(found, list):
        return len(quoted) == len(found) and all(map(_matches, quoted, found))
    if isinstance(quoted, str) and isinstance(found, str):
        ours, theirs = _VARIES.sub("#", quoted), _VARIES.sub("#", found)
        return ours == theirs or (ours.endswith("…") and _begins(theirs, ours.removesuffix("…")))
    return bool(quoted == found)


def _begins(found: str, quoted: str) -> bool:
    """Ids, keys and years vary; only their form is compared."""
    is_id = re.fullmatch(r"[0-9a-f-]+", quoted) is not None
    return (re.match(r"[0-9a-f-]{8}", found) is not None) if is_id else found.startswith(quoted)
