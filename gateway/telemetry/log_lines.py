"""Writes finished log lines to a stream, whole, from any thread, and never lets a log stop a call.

A stream that takes no more (a full disk, a reader that left) costs the line, not the call that it tells of: its
wallet operation may be committed already. Lines lost are counted and told once the stream takes lines again.
"""

from __future__ import annotations

import threading
from typing import BinaryIO, TextIO


class LineWriter:
    """Writes lines of bytes, each with its end, and flushes them."""

    __slots__ = ("_lock", "_lost", "_out")

    def __init__(self, stream: TextIO) -> None:
        """Write to the bytes below `stream`; to the text itself where it has none (a StringIO)."""
        below: BinaryIO | None = getattr(stream, "buffer", None)
        self._out: BinaryIO | _Encoded = _Encoded(stream) if below is None else below
        self._lock = threading.Lock()
        self._lost = 0

    def msg(self, line: bytes) -> None:
        """Write one line, or several with ends between them; lost, and counted, if the stream does not take them."""
        count = line.count(b"\n") + 1
        with self._lock:
            if self._lost:
                line = b'{"level":"warning","event":"log lines lost","count":%d}\n%b' % (self._lost, line)
            try:
                self._out.write(line + b"\n")
                self._out.flush()
            except (OSError, ValueError):  # ValueError: the stream is closed
                self._lost += count
            else:
                self._lost = 0


class _Encoded:
    """Bytes into a stream of text."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, data: bytes) -> None:
        self._stream.write(data.decode("utf-8", "replace"))

    def flush(self) -> None:
        self._stream.flush()
