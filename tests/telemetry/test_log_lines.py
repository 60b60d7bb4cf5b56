"""Lines that wait a moment: all are written, in their order, and none waits for ever."""

from __future__ import annotations

import io
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime

import pytest
import structlog

from gateway.telemetry.log_lines import HOLD_S, MAX_BUFFERED
from gateway.telemetry.logs import configure, gathered, log, log_of_calls


class Timer:
    """Stores scheduled calls and runs them when the test wants."""

    def __init__(self) -> None:
        self.due: list[tuple[float, Callable[[], None]]] = []

    def __call__(self, seconds: float, call: Callable[[], None]) -> None:
        self.due.append((seconds, call))

    def ring(self) -> None:
        due, self.due = self.due, []
        for _, call in due:
            call()


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


def events(out: io.StringIO) -> list[str]:
    return [json.loads(line)["event"] for line in out.getvalue().splitlines()]


def test_lines_wait_for_the_timer_which_is_set_once(out: io.StringIO) -> None:
    """The first line sets it; those behind go along."""
    timer = Timer()
    with gathered(timer):
        calls = log_of_calls()
        calls.info("one", count=1)
        calls.info("two")
        before = (events(out), [seconds for seconds, _ in timer.due])
        timer.ring()
        assert (before, events(out)) == (([], [HOLD_S]), ["one", "two"])


def test_a_line_after_the_timer_sets_it_again(out: io.StringIO) -> None:
    """No line waits without one."""
    timer = Timer()
    with gathered(timer):
        calls = log_of_calls()
        calls.info("one")
        timer.ring()
        calls.info("two")
        timer.ring()
        assert events(out) == ["one", "two"]


def test_a_line_that_waits_has_the_time_of_its_call(out: io.StringIO) -> None:
    """It is rendered later."""
    timer = Timer()
    with gathered(timer):
        log_of_calls().info("one")
        logged_by = time.time()
        while time.time() < logged_by + 0.005:  # beyond the millisecond that a line shows
            pass
        timer.ring()
    at = datetime.fromisoformat(json.loads(out.getvalue())["timestamp"]).timestamp()
    assert logged_by - 1 < at <= logged_by


@pytest.mark.parametrize(("least", "written"), [("debug", ["d", "i", "e"]), ("info", ["i", "e"]), ("error", ["e"])])
def test_lines_of_calls_obey_the_level(out: io.StringIO, least: str, written: list[str]) -> None:
    """Health checks have debug, and would fill the log otherwise."""
    configure(least, "json", out)
    calls = log_of_calls()
    calls.debug("d")
    calls.info("i")
    calls.error("e")
    assert events(out) == written


def test_any_other_line_takes_those_that_wait_along(out: io.StringIO) -> None:
    """An error is never logged before the lines that led to it."""
    with gathered(Timer()):
        log_of_calls().info("one")
        log().error("two")
        assert events(out) == ["one", "two"]


def test_many_lines_are_written_before_the_timer(out: io.StringIO) -> None:
    """What waits is bounded."""
    with gathered(Timer()):
        calls = log_of_calls()
        for _ in range(MAX_BUFFERED + 1):
            calls.info("one")
        assert len(events(out)) == MAX_BUFFERED


def test_the_end_writes_what_waits(out: io.StringIO) -> None:
    """A stop loses no line; behind it lines go at once."""
    with gathered(Timer()):
        calls = log_of_calls()
        calls.info("one")
    calls.info("two")
    assert events(out) == ["one", "two"]


def test_another_thread_does_not_wait(out: io.StringIO) -> None:
    """The timer belongs to one thread. Other threads write directly and do not touch waiting lines."""
    with gathered(Timer()):
        calls = log_of_calls()
        calls.info("one")
        thread = threading.Thread(target=calls.info, args=("two",))
        thread.start()
        thread.join()
        before = events(out)
    assert (before, events(out)) == (["two"], ["two", "one"])


def test_level_and_allow_list_hold_for_lines_that_wait(out: io.StringIO) -> None:
    """Below the level nothing is kept; a field that is not allowed is dropped and named."""
    with gathered(Timer()):
        calls = log_of_calls()
        calls.debug("one")
        calls.info("two", api_key="pk_live_4f1dd27c9b")
    (line,) = [json.loads(text) for text in out.getvalue().splitlines()]
    assert (line["event"], line["dropped"], "api_key" in line) == ("two", "api_key", False)


def test_waiting_lines_that_cannot_be_written_are_all_counted() -> None:
    """Two lines that went together are two lines lost."""

    class Full(io.StringIO):
        full = True

        def write(self, text: str) -> int:
            if self.full:
                raise OSError(28, "No space left on device")
            return super().write(text)

    stream = Full()
    try:
        configure("info", "json", stream)
        with gathered(Timer()):
            calls = log_of_calls()
            calls.info("one")
            calls.info("two")
        stream.full = False
        log().info("three")
    finally:
        structlog.reset_defaults()
        logging.captureWarnings(False)
        logging.basicConfig(handlers=[], force=True)
    reported = [(line["event"], line.get("count")) for line in map(json.loads, stream.getvalue().splitlines())]
    assert reported == [("log lines lost", 2), ("three", None)]
