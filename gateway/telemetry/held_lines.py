"""Log lines that may wait: what every call says is rendered and written together, some milliseconds' worth at a time.

One by one a line costs a quarter of an empty call, most of it the way to the disk and back. Every other line goes at
once and takes those that wait along, before it. A process that is killed loses what waited, `HOLD_S` at most; what must
never be lost is evidence or audit, which have places of their own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from gateway.telemetry.log_lines import LineWriter

HOLD_S = 0.01
"""How long a line waits at most."""
MAX_HELD = 256
"""With so many lines waiting they are written at once."""

CallLater = Callable[[float, Callable[[], None]], object]


class Held(NamedTuple):
    """One line that is not rendered yet. `fields` belongs to it from now on."""

    at_ns: int
    level: str
    event: str
    fields: dict[str, Any]


class HeldLines:
    """A structlog logger of last resort that can also hold lines back. Only one thread's lines are held."""

    __slots__ = ("_held", "_later", "_owner", "_render", "_writer")

    def __init__(self, writer: LineWriter, render: Callable[[Held], bytes]) -> None:
        """Args: `render` returns a line without its end."""
        self._writer = writer
        self._render = render
        self._held: list[Held] = []
        self._later: CallLater | None = None
        self._owner = 0

    def add(self, level: str, event: str, fields: dict[str, Any]) -> None:
        """Take a line; it is written soon while lines are gathered, else now."""
        line = Held(time.time_ns(), level, event, fields)
        if self._later is None or threading.get_ident() != self._owner:
            self._writer.msg(self._render(line))
            return
        self._held.append(line)
        if len(self._held) == 1:
            self._later(HOLD_S, self.flush)
        elif len(self._held) >= MAX_HELD:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if self._held and threading.get_ident() == self._owner:
            held, self._held = self._held, []
            self._writer.msg(b"\n".join([self._render(line) for line in held]))

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
        """Write a finished line, behind those that wait."""
        self.flush()
        self._writer.msg(line)

    log = debug = info = warning = error = critical = exception = fatal = warn = failure = err = msg
