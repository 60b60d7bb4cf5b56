"""The parent of workers, with small programs in the workers' place."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.config.names import OWN_PREFIXES
from gateway.server.process.inherited import VARIABLE
from tests.gateway_process import ROOT

PARENT = """
import asyncio, sys
from gateway.server.process.inherited import WorkerSeat
from gateway.server.process.workers import RestartTimes, Workers

listener, reading, folder, code = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
paths = {"socket_path": f"{folder}/0.0.sock"}
seat = WorkerSeat(number=0, workers=1, listener=None, admin=listener, parent=reading, **paths)
times = RestartTimes(first_s=0.05, longest_s=0.2, stable_after_s=float(sys.argv[5]))
hands_on = int(sys.argv[6]) if len(sys.argv) > 6 else None
sys.exit(asyncio.run(Workers([seat], 1.0, times, [sys.executable, "-c", code], hands_on=hands_on).run()))
"""
WORKER = """
import pathlib, sys, time
starts = pathlib.Path({folder!r}) / "starts"
starts.open("a").write("x")
time.sleep({lives_s})
sys.exit({code})
"""
SOON, LATE = 0.5, 60.0
"""When a worker is taken for one that had started: before the end of one that lives for a while, or never in a test."""


@pytest.fixture
def descriptors() -> Iterator[tuple[int, int]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        reading, writing = os.pipe()
        yield listener.fileno(), reading
        os.close(reading)
        os.close(writing)


def parent(
    descriptors: tuple[int, int], folder: Path, lives_s: float, code: int, stable_after_s: float = LATE
) -> subprocess.Popen[bytes]:
    """Start a parent whose worker ends by itself after a time, with this exit code."""
    worker = WORKER.format(folder=str(folder), lives_s=lives_s, code=code)
    arguments = [*map(str, descriptors), str(folder), worker, str(stable_after_s)]
    return subprocess.Popen([sys.executable, "-c", PARENT, *arguments], cwd=ROOT, pass_fds=descriptors)


def test_a_worker_that_had_started_is_restarted_whatever_its_exit_code(
    descriptors: tuple[int, int], tmp_path: Path
) -> None:
    """A part of it died: that ends the worker with 1, and not the others."""
    process = parent(descriptors, tmp_path, lives_s=0.7, code=1, stable_after_s=SOON)
    try:
        wait_for_starts(tmp_path, 3)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        process.wait(10)
    finally:
        process.kill()
        process.wait()


def test_a_worker_that_cannot_start_ends_the_parent_with_its_code(descriptors: tuple[int, int], tmp_path: Path) -> None:
    """The next one would meet the same fault."""
    process = parent(descriptors, tmp_path, lives_s=0.0, code=2)
    try:
        assert process.wait(10) == 2
        assert (tmp_path / "starts").read_text() == "x"
    finally:
        process.kill()
        process.wait()


def test_a_worker_that_keeps_dying_waits_longer_each_time(descriptors: tuple[int, int], tmp_path: Path) -> None:
    """Killed at once each time: 0.05, 0.1, 0.2, 0.2 s and so on, so a few starts in two seconds."""
    process = parent(descriptors, tmp_path, lives_s=0.0, code=0)
    try:
        wait_for_starts(tmp_path, 3)
        began, before = time.monotonic(), starts(tmp_path)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(2.0)
        further = starts(tmp_path) - before
        assert further <= (time.monotonic() - began) / 0.2 + 1
    finally:
        process.terminate()
        assert process.wait(10) == 0


def test_a_worker_gets_the_descriptor_that_its_parent_inherited(descriptors: tuple[int, int], tmp_path: Path) -> None:
    """As an audit log that a shell has opened."""
    with (tmp_path / "audit").open("wb") as audit:
        code = f"import os, sys; os.write({audit.fileno()}, b'line'); sys.exit(2)"
        arguments = [*map(str, descriptors), str(tmp_path), code, str(LATE), str(audit.fileno())]
        done = subprocess.run(
            [sys.executable, "-c", PARENT, *arguments], cwd=ROOT, pass_fds=(*descriptors, audit.fileno()), timeout=20
        )
    assert (done.returncode, (tmp_path / "audit").read_bytes()) == (2, b"line")


def starts(folder: Path) -> int:
    """How many workers were started so far."""
    return len((folder / "starts").read_text()) if (folder / "starts").exists() else 0


def wait_for_starts(folder: Path, least: int) -> None:
    """Return when so many workers were started. Raises: AssertionError."""
    until = time.monotonic() + 20
    while starts(folder) < least:
        assert time.monotonic() < until
        time.sleep(0.02)


def allow_descriptors(process: subprocess.Popen[bytes], most: int) -> None:
    """Let the process have so many file descriptors: with too few, it can start no other."""
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (most, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


def test_a_parent_without_descriptors_tries_again_until_it_has_some(
    descriptors: tuple[int, int], tmp_path: Path
) -> None:
    """A worker died meanwhile. The group must not end for lack of a descriptor that is free a moment later."""
    process = parent(descriptors, tmp_path, lives_s=0.7, code=1, stable_after_s=SOON)
    try:
        wait_for_starts(tmp_path, 1)
        allow_descriptors(process, 3)
        time.sleep(1.5)
        assert (process.poll(), starts(tmp_path)) == (None, 1)
        allow_descriptors(process, 256)
        wait_for_starts(tmp_path, 2)
    finally:
        process.terminate()
        process.wait(10)


def test_a_roll_without_descriptors_keeps_the_worker_and_the_next_roll_works(
    descriptors: tuple[int, int], tmp_path: Path
) -> None:
    """The task that rolls must outlive it: SIGHUP would do nothing for the rest of the parent's life."""
    process = parent(descriptors, tmp_path, lives_s=30, code=0)
    try:
        wait_for_starts(tmp_path, 1)
        allow_descriptors(process, 3)
        process.send_signal(signal.SIGHUP)
        time.sleep(0.5)
        allow_descriptors(process, 256)
        process.send_signal(signal.SIGHUP)
        wait_for_starts(tmp_path, 2)
    finally:
        process.terminate()
        process.wait(20)


def test_a_seat_is_not_taken_for_a_setting() -> None:
    """Each worker would warn of a name that nobody wrote."""
    assert not VARIABLE.startswith(OWN_PREFIXES)
