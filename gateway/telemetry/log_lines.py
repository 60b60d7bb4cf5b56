"""Write finished log lines to a stream, whole, from any thread, and never let a log stop a call.

The lines that every call writes may wait some milliseconds and are rendered and written together, after the answers
have left: one by one, a line costs a quarter of an empty call. Any other line is written at once, after those that
wait. A process that is killed loses what waited, at most `HOLD_S` of it. Evidence and audit records are kept elsewhere.

A stream that takes no more (a full disk, a reader that left or stopped) costs the line, not the call that it describes:
its wallet operation may be committed already. Lost lines are counted, and reported when the stream takes lines again.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import BinaryIO, TextIO

from gateway.telemetry.log_pipe import LogPipe, may_block

HOLD_S = 0.01
"""How long a line waits at most."""
MAX_BUFFERED = 256
"""With so many lines waiting they are written at once."""

CallLater = Callable[[float, Callable[[], None]], object]
Line = bytes | Callable[[], bytes]
"""A line, or what renders it."""


class LineWriter:
    """A structlog logger that writes lines of bytes. Only the lines of one thread, the event loop's, are held."""

    __slots__ = ("_buffered", "_fault", "_later", "_lock", "_lost", "_out", "_owner", "_pipe", "_reported")

    def __init__(self, stream: TextIO) -> None:
        """Write to the bytes below `stream`; to the text itself where it has none (a StringIO)."""
        below: BinaryIO | None = getattr(stream, "buffer", None)
        self._out: BinaryIO | _Encoded = _Encoded(stream) if below is None else below
        self._pipe = _pipe_below(stream)
        self._lock = threading.Lock()
        self._lost = self._reported = 0
        self._fault = ""
        self._buffered: list[Line] = []
        self._later: CallLater | None = None
        self._owner = 0

    def add(self, line: Line) -> None:
        """Write a line soon while lines are gathered, else now."""
        if self._later is None or threading.get_ident() != self._owner:
            self._write([_rendered(line)])
            return
        self._buffered.append(line)
        if len(self._buffered) == 1:
            self._later(HOLD_S, self.flush)
        elif len(self._buffered) >= MAX_BUFFERED:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if self._buffered and threading.get_ident() == self._owner:
            lines, self._buffered = self._buffered, []
            self._write([_rendered(line) for line in lines])

    @contextmanager
    def gathering(self, later: CallLater) -> Iterator[None]:
        """Hold lines of this thread back while inside. Args: `later` calls a function after some seconds, in it."""
        self._later, self._owner = later, threading.get_ident()
        try:
            yield
        finally:
            self.flush()
            self._later = None

    def msg(self, line: bytes) -> None:
        """Write a line after those that wait."""
        self.flush()
        self._write([line])

    log = debug = info = warning = error = critical = exception = fatal = warn = failure = err = msg

    @property
    def lost(self) -> int:
        """How many lines were lost since the start."""
        return self._lost if self._pipe is None else self._pipe.lost

    @property
    def fault(self) -> str:
        """Why the last line was lost, such as ENOSPC; empty if it was written."""
        return self._fault if self._pipe is None else self._pipe.fault

    def _write(self, lines: list[bytes]) -> None:
        """Write the lines; they are lost, and counted, if the stream does not take them."""
        with self._lock:
            unreported = self.lost - self._reported
            whole = [line + b"\n" for line in lines]
            if unreported:
                whole.insert(0, _lost_line(unreported))
            if self._pipe is not None:
                if self._pipe.put(whole, reports=len(whole) - len(lines)):
                    self._reported += unreported
                return
            try:
                self._out.write(b"".join(whole))
                self._out.flush()
            except (OSError, ValueError) as error:  # ValueError: the stream is closed
                self._lost += len(lines)
                self._fault = errno.errorcode.get(getattr(error, "errno", None) or 0, "closed")
            else:
                self._fault = ""
                self._reported += unreported


def _lost_line(count: int) -> bytes:
    at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z").encode()
    return b'{"timestamp":"%b","level":"warning","event":"log lines lost","count":%d}\n' % (at, count)


def _rendered(line: Line) -> bytes:
    return line if isinstance(line, bytes) else line()


def _pipe_below(stream: TextIO) -> LogPipe | None:
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError, AttributeError):  # no file: a StringIO, or a stream that is closed
        return None
    return LogPipe(descriptor) if may_block(descriptor) else None


class BufferedLines:
    """A structlog logger whose lines may wait."""

    def __init__(self, writer: LineWriter) -> None:
        self.msg = self.debug = self.info = self.warning = self.error = writer.add


class _Encoded:
    """Bytes into a stream of text."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, data: bytes) -> None:
        self._stream.write(data.decode("utf-8", "replace"))

    def flush(self) -> None:
        self._stream.flush()
