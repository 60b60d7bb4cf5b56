"""Writes audit records: a bounded queue and one thread that writes the file.

`write` never waits and never raises: a record that finds the queue full is counted, and the file gets the count later.
`write_durably` returns once the record is in the file, and on the disk if configured so, or raises in time. It never
hangs, whatever the file does.
"""

from __future__ import annotations

import asyncio
import errno
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from gateway.errors import AuditUnavailable
from gateway.telemetry.audit_file import AuditFile
from gateway.telemetry.audit_record import AuditRecord, Kind, line_of
from gateway.telemetry.logs import log


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditSettings:
    """How records are kept."""

    max_queued: int = 20_000
    """Records that may wait for the file: seconds of full load."""
    max_batch: int = 256
    """Records in one write, and in one sync where that is asked for."""
    linger_s: float = 0.05
    """Records that nobody waits for are written together: waking the thread for each would cost calls their time."""
    keep_within_s: float = 1.0
    """Longest wait for the certainty that a record is kept."""
    stuck_after_s: float = 1.0
    """A write that takes longer counts as failed for all later callers."""
    retry_after_s: float = 0.5
    """How long a file that failed is left alone."""


class WriterThread(Protocol):
    """The thread that writes; whoever starts it notices when it ends."""

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        ...

    def expect_end(self) -> None:
        """Its end is expected from now on."""
        ...

    async def join(self, within_s: float) -> bool:
        """Wait for its end. Returns: whether it ended in time."""
        ...


StartThread = Callable[[str, Callable[[], None]], WriterThread]
"""Starts a thread of this name that does this work; `resilience.supervision.SupervisedThread` is one."""

ADVICE = "let the gateway's user write to GATEWAY_AUDIT_FILE, and look at its disk or reader"
_ADVICE = {
    "ENOSPC": "free some space on the disk of GATEWAY_AUDIT_FILE",
    "EDQUOT": "raise the quota of the gateway's user on the disk of GATEWAY_AUDIT_FILE, or free some space",
    "EFBIG": "rotate GATEWAY_AUDIT_FILE, or raise the limit of file sizes (ulimit -f, LimitFSIZE)",
    "EMFILE": "raise the limit of open files of the gateway (ulimit -n, LimitNOFILE)",
}
"""By errno name."""
_TURN = 32
"""Records that are turned into text before calls get their turn again: 0.1 ms."""


@dataclass(slots=True, eq=False)
class _Waiter:
    """Who waits for a record; `future` belongs to the loop's thread."""

    future: asyncio.Future[None]
    loop: asyncio.AbstractEventLoop


class AuditTrail:
    """Records on their way into one file. Call `start`, `stop` and `write_durably` in the event loop's thread."""

    def __init__(
        self,
        file: AuditFile,
        start_thread: StartThread,
        *,
        settings: AuditSettings | None = None,
        on_event: Callable[[str, int], None] = lambda name, count: None,
    ) -> None:
        """Args: `on_event` hears kept, lost and failed with a count, from any thread."""
        self._file = file
        self._start_thread = start_thread
        self._settings = settings or AuditSettings()
        self._on_event = on_event
        self._queue: deque[tuple[AuditRecord, _Waiter | None]] = deque()
        self._batch: list[tuple[AuditRecord, _Waiter | None]] = []
        self._room = self._settings.max_queued
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._thread: WriterThread | None = None
        self._has_died = False
        self._stopping = False
        self._lost = 0
        self._counting = threading.Lock()
        self._busy_since: float | None = None
        self._failed_at: float | None = None
        self._unkept = 0
        self.fault = "stuck"
        """Why records cannot be kept while `is_failing`: an errno name, or `stuck`."""
        self.trouble = "a write of the audit log takes too long"
        self.advice = ADVICE

    @property
    def is_failing(self) -> bool:
        """Whether the last write failed, one takes too long, or nothing writes any more."""
        busy_since = self._busy_since
        stuck = busy_since is not None and time.monotonic() - busy_since > self._settings.stuck_after_s
        return stuck or self._failed_at is not None or self._has_died

    def start(self) -> None:
        """Begin to write."""
        if self._thread is None:
            self._stopping = False
            self._thread = self._start_thread("audit", self._run)

    async def stop(self, within_s: float = 2.0) -> None:
        """Write what waits, for at most this long."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        thread.expect_end()
        self._stopping = True
        self._hurry.set()
        self._wake.set()
        has_ended = await thread.join(within_s)
        if not has_ended or self._queue:
            trouble = self.trouble or f"they were not written within {within_s:g} s"
            log().error("audit records left unwritten", trouble=trouble, count=len(self._queue))
        else:
            self._file.close()

    def write(self, record: AuditRecord) -> None:
        """Have the record written soon. Never waits, never raises."""
        queue = self._queue
        if len(queue) >= self._room:
            with self._counting:
                self._lost += 1
            self._on_event("lost", 1)
            return
        queue.append((record, None))
        if len(queue) == 1:
            self._wake.set()

    async def write_durably(self, record: AuditRecord, within_s: float) -> None:
        """Return once the record is kept. Raises: AuditUnavailable, at once while the file is known to fail.

        Args: `within_s`: what the caller has left; never waited for longer, nor than the settings say.
        """
        if self._thread is None or len(self._queue) >= self._room or self._is_left_alone():
            raise AuditUnavailable
        loop = asyncio.get_running_loop()
        waiter = _Waiter(loop.create_future(), loop)
        self._queue.append((record, waiter))
        self._hurry.set()
        self._wake.set()
        try:
            async with asyncio.timeout(max(0.0, min(within_s, self._settings.keep_within_s))):
                await waiter.future
        except TimeoutError:
            raise AuditUnavailable from None

    def _is_left_alone(self) -> bool:
        """Whether a write hangs, failed so lately that it is not tried again yet, or nothing writes any more."""
        if self._has_died:
            return True
        now, settings = time.monotonic(), self._settings
        busy_since, failed_at = self._busy_since, self._failed_at
        if busy_since is not None and now - busy_since > settings.stuck_after_s:
            return True
        return failed_at is not None and now - failed_at < settings.retry_after_s

    def _run(self) -> None:
        try:
            self._write_until_stopped()
        finally:
            if not self._stopping:
                self._has_died = True
                refused = [*self._batch, *self._queue]
                _answer([waiter for _, waiter in refused if waiter is not None], failed=True)

    def _write_until_stopped(self) -> None:
        settings = self._settings
        self._busy_since = time.monotonic()
        try:
            self._file.append([])  # a replica that cannot keep records says so before its first call
        except OSError as error:
            self._fail([], error)
        finally:
            self._busy_since = None
        while True:
            if not self._queue:
                if self._stopping:
                    return
                if self._failed_at is not None:
                    # A replica that is not ready gets no calls whose records would show that the file works again.
                    self._pause()
                    self._write_batch()
                    continue
                self._wake.wait(timeout=1.0)
                self._wake.clear()
                continue
            if not self._stopping and not self._hurry.is_set():
                self._hurry.wait(timeout=settings.linger_s)
            self._hurry.clear()
            while self._queue:
                if not self._write_batch():
                    if self._stopping:
                        return
                    self._hurry.clear()
                    self._pause()
                    break

    def _pause(self) -> None:
        """Leave a failing file alone. Meanwhile `write_durably` refuses by itself."""
        until = time.monotonic() + self._settings.retry_after_s
        while not self._stopping and (left := until - time.monotonic()) > 0:
            time.sleep(min(0.05, left))

    def _write_batch(self) -> bool:
        queue = self._queue
        self._batch = batch = [queue.popleft() for _ in range(min(len(queue), self._settings.max_batch))]
        lost = self._lost
        lines = [_count_line(Kind.LOST, lost)] if lost else []
        if self._failed_at is not None and (self._unkept or not batch):
            lines.append(_count_line(Kind.RESUMED, self._unkept))
        for number, (record, _) in enumerate(batch, 1):
            lines.append(line_of(record))
            if number % _TURN == 0:
                time.sleep(0)  # let the loop have the interpreter
        self._busy_since = time.monotonic()
        try:
            self._file.append(lines)
        except OSError as error:
            self._fail(batch, error)
            self._batch = []
            return False
        finally:
            self._busy_since = None
        with self._counting:
            self._lost -= lost
        if self._failed_at is not None:
            self._failed_at, self._unkept = None, 0
            log().info("audit records are kept again", count=len(batch))
        self._on_event("kept", len(batch))
        _answer([waiter for _, waiter in batch if waiter is not None], failed=False)
        self._batch = []
        return True

    def _fail(self, batch: list[tuple[AuditRecord, _Waiter | None]], error: OSError) -> None:
        """Refuse who waits, and put the others back: they are written when the file takes lines again."""
        self.trouble = os.strerror(error.errno or 0)
        self.fault = errno.errorcode.get(error.errno or 0, "other")
        self.advice = _ADVICE.get(self.fault, ADVICE)
        if self._failed_at is None:
            log().error(
                "audit records cannot be kept",
                path=str(self._file.path),
                code=self.fault,
                trouble=self.trouble,
                advice=self.advice,
                count=len(batch),
            )
        self._unkept += sum(waiter is not None for _, waiter in batch)
        self._failed_at = time.monotonic()
        self._on_event("failed", 1)
        self._queue.extendleft(reversed([one for one in batch if one[1] is None]))
        _answer([waiter for _, waiter in batch if waiter is not None], failed=True)


def _count_line(kind: Kind, count: int) -> bytes:
    """Return the line that says how many records are missing, or how many calls were refused without one."""
    return line_of(
        AuditRecord(
            kind=kind, at_ns=time.time_ns(), caller="", peer="", method="", request_id="", status="", reason="",
            verdict="", facts={"count": count},
        )
    )  # fmt: skip


def _answer(waiters: list[_Waiter], *, failed: bool) -> None:
    """Wake all who wait, by one message to each loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
    for waiter in waiters:
        by_loop.setdefault(waiter.loop, []).append(waiter.future)
    for loop, futures in by_loop.items():
        try:
            loop.call_soon_threadsafe(_settle, futures, failed)
        except RuntimeError:  # the loop is closed: nobody waits any more
            continue


def _settle(futures: list[asyncio.Future[None]], failed: bool) -> None:
    for future in futures:
        if future.done():
            continue
        if failed:
            future.set_exception(AuditUnavailable())
        else:
            future.set_result(None)
