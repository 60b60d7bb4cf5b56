"""What reaches the log, and what never does: secrets in dropped fields, in exceptions, in other libraries' records."""

from __future__ import annotations

import enum
import io
import json
import logging
import os
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from gateway.telemetry import logs
from gateway.telemetry.logs import MAX_VALUE_CHARS, configure, log, where_raised

SECRET = "pk_live_4f1dd27c9b"
ROOT = Path(__file__).parents[2]


class Trouble(Exception):
    pass


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    """JSON logs of this test. The logging setup is restored afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure("info", "json", stream)
    yield stream
    structlog.reset_defaults()
    logging.captureWarnings(False)
    root.handlers[:], root.level = handlers, level


def lines(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def raised(error: Exception, cause: Exception | None = None) -> Exception:
    try:
        raise error from cause
    except Exception as caught:
        return caught


def test_line_is_json_with_time_and_level(out: io.StringIO) -> None:
    """A line is one JSON object with its time in UTC, level, event and fields."""
    log().info("started", address="127.0.0.1:50051", pid=7)
    (line,) = lines(out)
    stamp = line.pop("timestamp")
    assert (line, len(stamp), stamp[-1]) == (
        {"level": "info", "event": "started", "address": "127.0.0.1:50051", "pid": 7},
        len("2025-11-18T12:00:00.000Z"),
        "Z",
    )


def test_lower_level_is_not_written(out: io.StringIO) -> None:
    """Below the level nothing is written."""
    log().debug("detail")
    assert out.getvalue() == ""


def test_secret_in_a_dropped_field_is_not_written(out: io.StringIO) -> None:
    """A field that is not allowed is named without its value."""
    log().info("call", method="/a.B/C", api_key=SECRET, body=SECRET)
    (line,) = lines(out)
    assert (SECRET in out.getvalue(), line["dropped"], line["method"]) == (False, "api_key, body", "/a.B/C")


@pytest.mark.parametrize(
    "value",
    [SECRET.encode(), {"token": SECRET}, [SECRET], Trouble(SECRET), type("Text", (), {"__str__": lambda _: SECRET})()],
    ids=["bytes", "dict", "list", "exception", "object"],
)
def test_secret_in_an_object_is_not_written(out: io.StringIO, value: object) -> None:
    """A value that is not a number, flag or text is logged by its type only, also in an allowed field."""
    log().info("call", trouble=value)
    (line,) = lines(out)
    assert (SECRET in out.getvalue(), line["trouble"]) == (False, f"<{type(value).__name__}>")


def test_secret_in_an_exception_is_not_written(out: io.StringIO) -> None:
    """An exception is logged with types and positions, without its text and the texts of its causes."""
    error = raised(Trouble(SECRET), cause=ValueError(SECRET))
    log().error("call", **where_raised(error), exc_info=error)
    (line,) = lines(out)
    assert SECRET not in out.getvalue()
    assert (line["error_type"], line["error_causes"], line["dropped"]) == ("Trouble", "ValueError", "exc_info")
    assert line["error_at"].startswith("test_logs.py:")


def test_our_position_is_logged_beside_a_librarys() -> None:
    """If a library raises, the innermost line of the gateway is logged too."""
    code = compile("def ours(call): call()", "/srv/gateway/phoenix/transport.py", "exec")
    namespace: dict[str, Any] = {}
    exec(code, namespace)
    with pytest.raises(ValueError) as caught:
        namespace["ours"](lambda: json.loads("{"))
    reported = where_raised(caught.value)
    assert (reported["error_at"].split(":")[0], reported["error_from"]) == ("decoder.py", "transport.py:1 in ours")


def test_ring_of_causes_ends() -> None:
    """Exceptions that name each other as cause are logged and do not block."""
    one, other = Trouble("a"), ValueError("b")
    one.__cause__, other.__cause__ = other, one
    assert where_raised(one)["error_causes"].count("<") == 7


def test_secret_in_a_foreign_record_is_not_written(out: io.StringIO) -> None:
    """Of a library's record, only its name, position and the exception's type are logged."""
    try:
        raise Trouble(SECRET)
    except Trouble:
        logging.getLogger("some.library").exception("failed with %s", SECRET, extra={"token": SECRET})
    (line,) = lines(out)
    assert SECRET not in out.getvalue()
    assert (line["event"], line["logger"], line["error_type"]) == ("library error", "some.library", "Trouble")
    assert line["path"].startswith("test_logs:")


def test_foreign_chatter_is_not_written(out: io.StringIO) -> None:
    """Other libraries are heard from warnings on."""
    logging.getLogger("some.library").info("sent %s", SECRET)
    assert out.getvalue() == ""


def test_secret_in_a_warning_is_not_written(out: io.StringIO) -> None:
    """Python's own warnings go the same way."""
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn(SECRET, UserWarning, stacklevel=1)
    assert (SECRET in out.getvalue(), lines(out)[0]["logger"]) == (False, "py.warnings")


def test_long_text_is_cut(out: io.StringIO) -> None:
    """A field's text has a longest length."""
    log().info("call", method="x" * 10_000)
    assert len(lines(out)[0]["method"]) == MAX_VALUE_CHARS


def test_an_enum_is_logged_by_its_value(out: io.StringIO) -> None:
    """An enum of texts is one of our own names."""

    class Colour(enum.Enum):
        RED = "red"

    log().info("call", kind=Colour.RED)
    assert lines(out)[0]["kind"] == "red"


@pytest.mark.parametrize("value", ["\ud800", 2**70, "a\nb\x1b[31m"], ids=["surrogate", "big", "control"])
def test_strange_value_is_one_line(out: io.StringIO, value: object) -> None:
    """A value that JSON cannot represent still gives exactly one line."""
    log().info("call", trouble=value)
    assert [line["event"].strip("'") for line in lines(out)] == ["call"]


@pytest.mark.parametrize("value", ["\x9b31m", "\x7f", "a\u202eb", "\u2028", "\ufeff", "ü ñ", "\U0001f3c6"])
def test_a_line_shows_nothing_that_a_terminal_obeys(out: io.StringIO, value: str) -> None:
    """People read JSON lines on terminals, too; a header of a webhook may hold anything. They mean the same."""
    log().info("call", provider=value)
    assert lines(out)[0]["provider"] == value
    assert (value in out.getvalue()) == value.isprintable()


def test_console_obeys_no_control_characters() -> None:
    """On a terminal control characters are spelled out: they could forge lines."""
    stream = io.StringIO()
    try:
        configure("info", "console", stream)
        log().info("call", caller="a\nforged line\x1b[2J", api_key=SECRET)
    finally:
        structlog.reset_defaults()
        logging.captureWarnings(False)
        logging.basicConfig(handlers=[], force=True)
    text = stream.getvalue()
    assert (text.count("\n"), "\x1b[2J" in text, SECRET in text, "forged" in text) == (1, False, False, True)


class Fickle(io.StringIO):
    """A stream whose disk is full for a while."""

    full = True

    def write(self, text: str) -> int:
        if self.full:
            raise OSError(28, "No space left on device")
        return super().write(text)


def test_log_that_cannot_be_written_stops_nothing(out: io.StringIO) -> None:
    """Lines that the stream does not accept are lost, counted, and reported when it accepts lines again."""
    stream = Fickle()
    configure("info", "json", stream)
    log().info("one")
    log().info("two")
    stream.full = False
    log().info("three")
    log().info("four")
    reported = [(line["event"], line.get("count")) for line in lines(stream)]
    assert reported == [("log lines lost", 2), ("three", None), ("four", None)]


def test_closed_stream_stops_nothing(out: io.StringIO) -> None:
    """Logging after the stream was closed does not raise."""
    out.close()
    log().info("late")
    assert out.closed


def test_real_pipe_without_reader_stops_nothing() -> None:
    """A process without a log reader continues."""
    script = "from gateway.telemetry.logs import configure, log\nconfigure('info', 'json')\n" + textwrap.dedent("""
        import os, sys
        sys.stdin.read()
        for number in range(100):
            log().info("call", count=number)
        os._exit(7)
    """)
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    assert process.stderr is not None
    process.stderr.close()
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(30) == 7


@pytest.mark.parametrize(
    "fatal",
    [
        "raise ValueError(SECRET)",
        "import threading as th\ndef work(): raise ValueError(SECRET)\nt = th.Thread(target=work); t.start(); t.join()",
        "class Gone:\n    def __del__(self): raise ValueError(SECRET)\nGone()",
    ],
    ids=["main", "thread", "finalizer"],
)
def test_secret_in_an_uncaught_exception_is_not_written(fatal: str) -> None:
    """An uncaught exception is logged with type and position, in any thread."""
    script = (
        "import os\nfrom gateway.telemetry.logs import configure, report_uncaught\n"
        "configure('info', 'json')\nreport_uncaught()\nSECRET = os.environ['SECRET']\n" + fatal
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=30,
        env={**os.environ, "SECRET": SECRET}, check=False,
    )  # fmt: skip
    assert SECRET not in done.stdout + done.stderr
    assert [json.loads(line)["error_type"] for line in done.stderr.splitlines()] == ["ValueError"]


def test_allowed_fields_sound_harmless() -> None:
    """No allowed field is named like something secret."""
    bad = ("secret", "token", "signature", "password", "body", "payload", "header_value", "api_key", "authorization")
    assert [name for name in logs.ALLOWED_FIELDS if any(word in name for word in bad)] == []
