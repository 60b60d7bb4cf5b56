"""Logs: one JSON object a line on standard error, or coloured text on a terminal.

Redaction is by allow-list: a field that `log_fields.py` does not name is dropped and its name added to `dropped`,
so that a new field has to be allowed before it can leak. Of an allowed one only a number, a flag or a
short text is kept; anything else is replaced by its type. Exceptions are logged by type and place, never
by their text, and so are other libraries' records. That call sites use fixed texts is held by
tests/telemetry/test_log_calls.py. `log_lines.py` writes the lines.
"""

from __future__ import annotations

import enum
import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager, nullcontext
from functools import partial
from types import TracebackType
from typing import Any, Literal, TextIO

import orjson
import structlog

from gateway.core.terminal import escaped_line
from gateway.telemetry.log_fields import FIELDS
from gateway.telemetry.log_lines import BufferedLines, CallLater, LineWriter
from gateway.telemetry.spans import trace_fields

LogFormat = Literal["json", "console"]

ALLOWED_FIELDS = frozenset(FIELDS)
"""Every field that a line may have. None of them holds a payload, a token, a signature or a secret."""

MAX_VALUE_CHARS = 512
"""Longest text of one field: a line stays below 4 KiB, which a pipe takes whole from several processes at once."""

_PLAIN = frozenset({str, int, float, bool, type(None)})
_OWN_CODE = "/gateway/"


def cleaned(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the allowed fields with values that cannot hold more than they say, and the names of those dropped."""
    if fields.keys() <= ALLOWED_FIELDS and _are_short(fields.values()):
        return dict(fields)
    kept: dict[str, Any] = {}
    dropped: list[str] = []
    for name, value in fields.items():
        if name not in ALLOWED_FIELDS:
            dropped.append(name)
        elif type(value) not in _PLAIN or (type(value) is str and len(value) > MAX_VALUE_CHARS):
            kept[name] = _reduced(value)
        else:
            kept[name] = value
    if dropped:
        kept["dropped"] = ", ".join(sorted(dropped))[:MAX_VALUE_CHARS]
    return kept


def _are_short(values: Iterable[object]) -> bool:
    for value in values:
        kind = type(value)
        if kind is str:
            if len(value) > MAX_VALUE_CHARS:  # type: ignore[arg-type] # it is a str
                return False
        elif kind not in _PLAIN:
            return False
    return True


def _reduced(value: object) -> str | int | float | bool | None:
    """What is left of a value that is no short plain one: an object may hold anything, so its type alone."""
    if isinstance(value, enum.Enum) and type(value.value) in _PLAIN:
        value = value.value
    if isinstance(value, str):
        text = str(value)
        return text if len(text) <= MAX_VALUE_CHARS else text[: MAX_VALUE_CHARS - 1] + "…"
    if type(value) in (int, float, bool, type(None)):
        return value  # type: ignore[return-value] # narrowed by exact type: a subclass may print as it likes
    return f"<{type(value).__name__}>"


class _Stamp:
    """A time in UTC to the millisecond; the part up to the second is formatted once a second."""

    __slots__ = ("_second", "_text")

    def __init__(self) -> None:
        self._second = -1
        self._text = ""

    def __call__(self, at_ns: int) -> str:
        milliseconds = at_ns // 1_000_000
        second = milliseconds // 1000
        if second != self._second:
            # Two threads may both get here; each writes a text that fits the second that it read.
            text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._text, self._second = text, second
            return f"{text}.{milliseconds % 1000:03d}Z"
        return f"{self._text}.{milliseconds % 1000:03d}Z"


_stamp = _Stamp()


def _json_line(at_ns: int, level: str, event: str, fields: Mapping[str, Any]) -> bytes:
    """Clean, stamp and render in one step: a line is written on every call."""
    line = {"timestamp": _stamp(at_ns), "level": level, "event": event, **cleaned(fields)}
    try:
        return escaped_line(orjson.dumps(line))
    except TypeError:  # a lone surrogate or a number beyond 64 bits
        safe = {name: value if value is None else ascii(value)[:MAX_VALUE_CHARS] for name, value in line.items()}
        return orjson.dumps(safe)


def _json(_logger: Any, level: str, fields: MutableMapping[str, Any]) -> bytes:
    return _json_line(time.time_ns(), level, str(fields.pop("event", "")), {**fields, **trace_fields()})


class CallLogger:
    """Logs what every call says, as JSON. The line is stamped now and rendered when it is written."""

    def __init__(self, lines: LineWriter, least: int) -> None:
        """Args: `least`: the lowest level that is written."""
        self._add = lines.add
        self._least = least

    def debug(self, event: str, **fields: Any) -> None:
        """Log a call of little interest."""
        if self._least <= logging.DEBUG:
            self._add(partial(_json_line, time.time_ns(), "debug", event, fields))

    def info(self, event: str, **fields: Any) -> None:
        """Log a call."""
        if self._least <= logging.INFO:
            self._add(partial(_json_line, time.time_ns(), "info", event, fields))

    def warning(self, event: str, **fields: Any) -> None:
        """Log a call that failed because of the gateway or Phoenix."""
        if self._least <= logging.WARNING:
            self._add(partial(_json_line, time.time_ns(), "warning", event, fields))

    def error(self, event: str, **fields: Any) -> None:
        """Log a call that the gateway's operators must know of."""
        self._add(partial(_json_line, time.time_ns(), "error", event, fields))


def _console_fields(_logger: Any, level: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Clean the fields and spell out control characters: a terminal would obey them."""
    safe = {
        name: value if not isinstance(value, str) or value.isprintable() else ascii(value)
        for name, value in cleaned({**fields, **trace_fields()}).items()
    }
    return {"level": level, **safe}


def _as_bytes(_logger: Any, _level: str, line: Any) -> bytes:
    return str(line).encode("utf-8", "backslashreplace")


def configure(level: str, log_format: LogFormat | None, stream: TextIO | None = None) -> None:
    """Set logging up for the whole process, other libraries' included (warnings and worse, by type only).

    Args: `level` is debug, info, warning or error; `log_format` None means console on a terminal, else json.
    """
    out = stream or sys.stderr
    chosen = log_format or ("console" if out.isatty() else "json")
    least = getattr(logging, level.upper())
    processors: list[structlog.typing.Processor]
    if chosen == "console":
        processors = [
            _console_fields,
            structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=True),
            structlog.dev.ConsoleRenderer(colors=out.isatty() and not os.environ.get("NO_COLOR")),
            _as_bytes,
        ]
    else:
        processors = [_json]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=_Output(LineWriter(out), least if chosen == "json" else None),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(handlers=[_Foreign()], level=logging.WARNING, force=True)
    logging.captureWarnings(True)


class _Output:
    """Where structlog's loggers end: the writer, or what holds its lines back."""

    def __init__(self, lines: LineWriter, least_as_json: int | None) -> None:
        self.lines = lines
        self.calls = None if least_as_json is None else CallLogger(lines, least_as_json)
        self._soon = BufferedLines(lines)

    def __call__(self, *args: object) -> LineWriter | BufferedLines:
        return self._soon if args == (_SOON,) else self.lines


_SOON = "soon"


@contextmanager
def gathered(later: CallLater) -> Iterator[None]:
    """Hold the lines of calls back for some milliseconds each while inside. Args: as LineWriter.gathering."""
    output = structlog.get_config()["logger_factory"]
    with output.lines.gathering(later) if isinstance(output, _Output) else nullcontext():
        yield


def lines_lost() -> int:
    """Return how many lines could not be written since the start."""
    output = structlog.get_config()["logger_factory"]
    return output.lines.lost if isinstance(output, _Output) else 0


def log_fault() -> str:
    """Return why the last line was lost, such as ENOSPC; empty if it was written."""
    output = structlog.get_config()["logger_factory"]
    return output.lines.fault if isinstance(output, _Output) else ""


def report_uncaught() -> None:
    """Log what nobody caught, in any thread, by type and place; Python itself would print its text.

    For the process that serves. Replaces the three hooks of the interpreter.
    """

    def main_thread(_kind: type[BaseException], error: BaseException, _where: TracebackType | None) -> None:
        log().error("uncaught exception", **where_raised(error))

    def other_thread(args: threading.ExceptHookArgs) -> None:
        if args.exc_value is not None:
            log().error("uncaught exception in a thread", **where_raised(args.exc_value))

    def unraisable(args: Any) -> None:
        if args.exc_value is not None:
            log().error("exception that could not be raised", **where_raised(args.exc_value))

    sys.excepthook = main_thread
    threading.excepthook = other_thread
    sys.unraisablehook = unraisable


def where_raised(error: BaseException) -> dict[str, str]:
    """Describe an exception by types and lines; its text may hold anything and stays out.

    Returns: `error_type`; `error_at`, the line that raised; `error_from`, the innermost line of ours if that is
    another one; `error_causes`, the types of what it was raised from, outermost first.
    """
    # walk_tb and no extract_tb: that one would read source files.
    frames = [(frame.f_code, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    places = [
        (f"{code.co_filename.rsplit('/', 1)[-1]}:{line} in {code.co_name}", code.co_filename) for code, line in frames
    ]
    line = {"error_type": type(error).__name__, "error_at": places[-1][0] if places else ""}
    ours = next((place for place, file in reversed(places) if _OWN_CODE in file), "")
    if ours and ours != line["error_at"]:
        line["error_from"] = ours
    causes = _causes(error)
    if causes:
        line["error_causes"] = " < ".join(causes)
    return line


def _causes(error: BaseException) -> list[str]:
    """The types that an exception was raised from, at most eight: a chain may be a ring."""
    names: list[str] = []
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    while cause is not None and len(names) < 8:
        names.append(type(cause).__name__)
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return names


class _Foreign(logging.Handler):
    """Takes other libraries' warnings: which library, which place, never its text."""

    def emit(self, record: logging.LogRecord) -> None:
        fields: dict[str, Any] = {"logger": record.name, "path": f"{record.module}:{record.lineno}"}
        if record.exc_info and record.exc_info[1]:
            fields.update(where_raised(record.exc_info[1]))
        logger = log()
        if record.levelno >= logging.ERROR:
            logger.error("library error", **fields)
        else:
            logger.warning("library warning", **fields)


def log() -> Any:
    """Return the process's logger. A place that logs on every call keeps `log().bind()`, which is half the cost."""
    return structlog.get_logger()


def log_of_calls() -> Any:
    """Return the logger of what every call says: its lines are written together, some milliseconds' worth at a time.

    For errors too: what is logged here keeps its order. Take it once logging is configured. For JSON it is
    not structlog's, which takes as long as the line itself.
    """
    output = structlog.get_config()["logger_factory"]
    if isinstance(output, _Output) and output.calls is not None:
        return output.calls
    return structlog.get_logger(_SOON).bind()
