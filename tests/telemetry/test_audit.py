"""The audit trail on real files, pipes and full disks: stored records, reports about lost ones, no blocked call."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import stat
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from gateway.errors import AuditUnavailable
from gateway.resilience.supervision import SupervisedThread, UnexpectedEnd, unexpected_end_of
from gateway.telemetry.audit import AuditSettings, AuditTrail
from gateway.telemetry.audit_file import AuditFile
from gateway.telemetry.audit_record import MAX_LINE_BYTES, AuditRecord, Kind, line_of
from tests.fault_injection import raise_in_thread

LONG_S = 20.0
Open = Callable[..., AuditTrail]


def record(request_id: str = "r1", **facts: Any) -> AuditRecord:
    return AuditRecord(
        kind=Kind.ENDED,
        at_ns=1_700_000_000_123_456_789,
        caller="game",
        peer="",
        method="/a.B/C",
        request_id=request_id,
        status="OK",
        reason="",
        verdict="allowed",
        facts=facts,
    )


def lines_in(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines() if line]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LONG_S):
        while not condition():  # noqa: ASYNC110 - another thread's work, or another process's
            await asyncio.sleep(0.005)


@pytest_asyncio.fixture
async def open_trail() -> AsyncIterator[Open]:
    """Open trails; they end with the test."""
    trails: list[AuditTrail] = []

    def start(
        path: Path,
        *,
        durable: bool = True,
        starts: bool = True,
        on_event: Callable[[str, int], None] = lambda name, count: None,
        **settings: Any,
    ) -> AuditTrail:
        file, chosen = AuditFile(path, durable=durable), AuditSettings(**settings)
        trail = AuditTrail(file, SupervisedThread, settings=chosen, on_event=on_event)
        trails.append(trail)
        if starts:
            trail.start()
        return trail

    yield start
    for trail in trails:
        await trail.stop(0.5)


async def refused(work: Awaitable[None]) -> float:
    """Return after how many seconds the work was refused because no record could be kept."""
    began = time.monotonic()
    with pytest.raises(AuditUnavailable):
        await work
    return time.monotonic() - began


def test_a_record_is_one_line_of_allowed_members() -> None:
    """Facts that are not listed are omitted."""
    line = line_of(record(tenant="t", key_id="k1", verdict="VERIFIED", body="secret", token="secret"))
    assert {
        "time": "2023-11-14T22:13:20.123Z",
        "kind": "ended",
        "request_id": "r1",
        "caller": "game",
        "method": "/a.B/C",
        "status": "OK",
        "verdict": "allowed",
        "tenant": "t",
        "key_id": "k1",
        "wallet_verdict": "VERIFIED",
    } == json.loads(line)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1


@pytest.mark.parametrize(
    "text",
    ["two\nlines", 'quote " and \\', "\x00\x1b[2J", "\ud800", "x" * 100_000, "ü" * 9_000, "\x9b31m", "\u202e" * 9_000],
)
def test_no_text_makes_a_second_line_or_an_unreadable_one(text: str) -> None:
    """For any content of a fact or a name."""
    made = record(text, tenant=text, operator=text, key_id=text)._replace(caller=text, method=text)
    line = line_of(made)
    assert line.count(b"\n") == 1
    assert len(line) <= MAX_LINE_BYTES
    assert isinstance(json.loads(line), dict)
    assert not {"\x1b", "\x9b", "\u202e"} & set(line.decode())  # which a terminal would obey


async def test_noted_records_are_written_in_their_order(open_trail: Open, tmp_path: Path) -> None:
    """All of them, into a file that only its owner may read."""
    path = tmp_path / "audit.jsonl"
    trail = open_trail(path)
    for number in range(1000):
        trail.write(record(str(number)))
    await until(lambda: path.exists() and path.read_bytes().count(b"\n") == 1000)
    assert [str(number) for number in range(1000)] == [line["request_id"] for line in lines_in(path)]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_what_was_kept_is_in_the_file_on_return(open_trail: Open, tmp_path: Path) -> None:
    """No later: the answer leaves then."""
    path = tmp_path / "audit.jsonl"
    trail = open_trail(path, linger_s=60.0, keep_within_s=LONG_S)
    trail.write(record("first"))
    await trail.write_durably(record("second"), LONG_S)
    assert [line["request_id"] for line in lines_in(path)] == ["first", "second"]


async def test_many_who_wait_share_a_write(open_trail: Open, tmp_path: Path) -> None:
    """2,000 at once, each kept."""
    path = tmp_path / "audit.jsonl"
    trail = open_trail(path, keep_within_s=LONG_S)
    await asyncio.gather(*(trail.write_durably(record(str(number)), LONG_S) for number in range(2000)))
    assert {str(number) for number in range(2000)} == {line["request_id"] for line in lines_in(path)}


async def test_a_stop_writes_what_waits(tmp_path: Path) -> None:
    """Records of the last calls are not lost."""
    path = tmp_path / "audit.jsonl"
    trail = AuditTrail(AuditFile(path, durable=False), SupervisedThread, settings=AuditSettings(linger_s=30.0))
    trail.start()
    for number in range(700):
        trail.write(record(str(number)))
    await trail.stop()
    assert len(lines_in(path)) == 700


async def test_a_moved_file_is_left_and_a_new_one_begun(open_trail: Open, tmp_path: Path) -> None:
    """As logrotate does, without a signal and without a lost line."""
    path, old = tmp_path / "audit.jsonl", tmp_path / "audit.jsonl.1"
    trail = open_trail(path, keep_within_s=LONG_S)
    await trail.write_durably(record("before"), LONG_S)
    path.rename(old)
    await trail.write_durably(record("after"), LONG_S)
    assert [["before"], ["after"]] == [[line["request_id"] for line in lines_in(one)] for one in (old, path)]


async def test_a_full_disk_refuses_at_once_and_is_reported(open_trail: Open) -> None:
    """/dev/full accepts no byte. The second time, no write is tried."""
    trail = open_trail(Path("/dev/full"), retry_after_s=60.0)
    assert await refused(trail.write_durably(record(), 5.0)) < 3.0
    assert trail.is_failing
    assert await refused(trail.write_durably(record(), 5.0)) < 0.05


async def test_a_pipe_without_a_reader_refuses_and_does_not_hang(open_trail: Open, tmp_path: Path) -> None:
    """It serves as soon as the pipe has a reader."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    trail = open_trail(path, retry_after_s=0.01, keep_within_s=LONG_S)
    assert await refused(trail.write_durably(record("unread"), LONG_S)) < 3.0
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        await until(lambda: not trail.is_failing)
        await trail.write_durably(record("read"), LONG_S)
        assert b'"request_id":"read"' in os.read(reader, 65536)
    finally:
        os.close(reader)


async def test_a_reader_that_stops_reading_delays_no_other(open_trail: Open, tmp_path: Path) -> None:
    """Once the pipe is full, waiting calls are refused in time, and later calls too."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        trail = open_trail(path, retry_after_s=60.0)
        for number in range(2000):
            trail.write(record(str(number), tenant="t" * 400))
        await until(lambda: trail.is_failing)
        assert await refused(trail.write_durably(record(), 5.0)) < 1.0
    finally:
        os.close(reader)


async def test_a_removed_folder_refuses_and_a_new_one_is_used(open_trail: Open, tmp_path: Path) -> None:
    """The file that is still open does not count."""
    folder = tmp_path / "audit"
    folder.mkdir()
    path = folder / "audit.jsonl"
    trail = open_trail(path, retry_after_s=0.01, keep_within_s=LONG_S)
    await trail.write_durably(record("before"), LONG_S)
    shutil.rmtree(folder)
    assert await refused(trail.write_durably(record("without"), LONG_S)) < 3.0
    folder.mkdir()
    await until(lambda: not trail.is_failing)
    await trail.write_durably(record("after"), LONG_S)
    assert [(line["kind"], line.get("request_id")) for line in lines_in(path) if line["kind"] != "resumed"] == [
        ("ended", "after")
    ]


async def test_a_file_that_works_again_is_noticed_without_a_call(open_trail: Open, tmp_path: Path) -> None:
    """A replica that is not ready gets no calls. The file says how many calls were refused meanwhile."""
    folder = tmp_path / "audit"
    trail = open_trail(folder / "audit.jsonl", retry_after_s=0.01)
    await until(lambda: trail.is_failing)
    assert trail.fault == "ENOENT"
    await refused(trail.write_durably(record("without"), 5.0))
    folder.mkdir()
    await until(lambda: not trail.is_failing)
    assert [line["kind"] for line in lines_in(folder / "audit.jsonl")] == ["resumed"]


async def test_records_without_a_waiter_survive_a_failure(open_trail: Open, tmp_path: Path) -> None:
    """They stay in the queue and are written once there is a file."""
    folder = tmp_path / "missing"
    path = folder / "audit.jsonl"
    events: list[str] = []
    trail = open_trail(path, on_event=lambda name, _: events.append(name), retry_after_s=0.01)
    for number in range(600):
        trail.write(record(str(number)))
    await until(lambda: events.count("failed") >= 3)  # the first one is that of the start, without records
    folder.mkdir()
    await until(lambda: not trail.is_failing and path.read_bytes().count(b"\n") == 600)
    assert [str(number) for number in range(600)] == [line["request_id"] for line in lines_in(path)]


async def test_what_finds_the_queue_full_is_counted_in_the_file(open_trail: Open, tmp_path: Path) -> None:
    """The file itself shows how many records are missing."""
    path = tmp_path / "audit.jsonl"
    trail = open_trail(path, starts=False, max_queued=100)
    for number in range(150):
        trail.write(record(str(number)))
    trail.start()
    await until(lambda: path.exists() and path.read_bytes().count(b"\n") == 101)
    found = lines_in(path)
    assert [50] == [line["count"] for line in found if line["kind"] == "lost"]
    assert sum(line["kind"] == "ended" for line in found) == 100


async def test_a_hanging_write_delays_no_call_beyond_its_time(tmp_path: Path) -> None:
    """As on a network disk that is gone: refused in time, later ones at once, and the stop does not wait for it."""
    release = threading.Event()

    class Hanging(AuditFile):
        def append(self, lines: Any) -> None:
            release.wait(LONG_S)
            super().append(lines)

    path = tmp_path / "audit.jsonl"
    settings = AuditSettings(keep_within_s=0.3, stuck_after_s=0.2)
    trail = AuditTrail(Hanging(path, durable=True), SupervisedThread, settings=settings)
    trail.start()
    try:
        assert 0.1 < await refused(trail.write_durably(record("first"), 5.0)) < 3.0
        assert trail.is_failing
        assert await refused(trail.write_durably(record("second"), 5.0)) < 0.1
        assert await refused(trail.write_durably(record("third"), 0.0)) < 0.1
        began = time.monotonic()
        await trail.stop(0.2)
        assert time.monotonic() - began < 5.0
    finally:
        release.set()


async def test_a_torn_line_is_ended_and_the_record_written_again(tmp_path: Path) -> None:
    """A disk that filled up in the middle of a line costs that line's first half, and no record."""
    path = tmp_path / "audit.jsonl"

    class Filling(AuditFile):
        full = True

        def _write(self, descriptor: int, data: bytes) -> None:
            if self.full:
                type(self).full = False
                os.write(descriptor, data[:20])
                self._torn = True
                raise OSError(28, "No space left on device")
            super()._write(descriptor, data)

    trail = AuditTrail(Filling(path, durable=True), SupervisedThread, settings=AuditSettings(retry_after_s=0.01))
    trail.start()
    trail.write(record("whole"))
    await until(lambda: path.exists() and b'"whole"' in path.read_bytes())
    await trail.stop()
    first, second = path.read_bytes().splitlines()
    assert len(first) == 20
    assert json.loads(second)["request_id"] == "whole"


async def test_several_processes_write_whole_lines_into_one_file(tmp_path: Path) -> None:
    """As workers do."""
    path = tmp_path / "audit.jsonl"
    code = (
        "import sys; from pathlib import Path; from gateway.telemetry.audit_file import AuditFile\n"
        "file = AuditFile(Path(sys.argv[1]), durable=False)\n"
        "for number in range(300): file.append([b'{\"n\":' + b'1' * 3000 + b'}\\n'] * 5)\n"
    )
    import sys

    started = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, str(path), env={**os.environ, "PYTHONPATH": os.getcwd()}
        )
        for _ in range(3)
    ]
    assert [0] * 3 == [await one.wait() for one in started]
    lines = path.read_bytes().splitlines()
    assert {len(line) for line in lines} == {3006}
    assert len(lines) == 4500


async def test_a_writer_that_dies_of_anything_refuses_at_once(open_trail: Open, tmp_path: Path) -> None:
    """For any error: waiting calls, later calls, health and the process learn of it."""
    ends: list[UnexpectedEnd | None] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: ends.append(unexpected_end_of(context)))
    trail = open_trail(tmp_path / "audit.jsonl", keep_within_s=LONG_S)
    await trail.write_durably(record("before"), LONG_S)
    was_failing = trail.is_failing
    raise_in_thread("audit", MemoryError)
    assert await refused(trail.write_durably(record("during"), LONG_S)) < 2
    await until(lambda: bool(ends))
    assert await refused(trail.write_durably(record("after"), LONG_S)) < 0.5
    trail.write(record("noted"))
    assert (False, True) == (was_failing, trail.is_failing)
    assert [("audit", True)] == [(end.name, end.is_fatal) for end in ends if end is not None]
