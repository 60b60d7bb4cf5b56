"""Parts start in order, and stop in reverse order, whatever goes wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from gateway.resilience.supervision import unexpected_end_of
from gateway.server.lifecycle import Part, background, running

NAMES = ["cache", "store", "server"]


class Broken(Exception):
    """What a part raises."""


class Recorder:
    """Creates parts and records their calls."""

    def __init__(self, *, broken_start: str = "", broken_stop: str = "") -> None:
        self.calls: list[str] = []
        self._broken = {f"start {broken_start}", f"stop {broken_stop}"}

    def parts(self) -> list[Part]:
        """One part for each name."""
        return [Part(name=name, start=self._call(f"start {name}"), stop=self._call(f"stop {name}")) for name in NAMES]

    def _call(self, what: str) -> Callable[[], Awaitable[None]]:
        async def call() -> None:
            self.calls.append(what)
            if what in self._broken:
                raise Broken(what)

        return call


async def test_parts_start_in_order_and_stop_in_reverse() -> None:
    """The last part that started stops first."""
    recorder = Recorder()
    async with running(recorder.parts()):
        recorder.calls.append("serve")
    assert [
        "start cache",
        "start store",
        "start server",
        "serve",
        "stop server",
        "stop store",
        "stop cache",
    ] == recorder.calls


@pytest.mark.parametrize("broken", NAMES)
async def test_a_start_that_fails_stops_exactly_what_was_started(broken: str) -> None:
    """Each part in turn fails to start: the parts before it stop, in reverse order, and nothing else does."""
    recorder = Recorder(broken_start=broken)
    with pytest.raises(Broken) as raised:
        async with running(recorder.parts()):
            pytest.fail("nothing may be served")
    before = NAMES[: NAMES.index(broken)]
    expected = [f"start {name}" for name in [*before, broken]] + [f"stop {name}" for name in reversed(before)]
    assert expected == recorder.calls
    assert [f"The part that did not start: {broken}."] == raised.value.__notes__


@pytest.mark.parametrize("broken", NAMES)
async def test_a_stop_that_fails_keeps_no_other_part_from_stopping(broken: str) -> None:
    """Each part in turn fails to stop: all are stopped, and the error comes out."""
    recorder = Recorder(broken_stop=broken)
    with pytest.raises(Broken, match=f"stop {broken}"):
        async with running(recorder.parts()):
            pass
    assert [f"stop {name}" for name in reversed(NAMES)] == recorder.calls[3:]


async def test_an_error_while_serving_stops_everything() -> None:
    """A cancelled or broken body leaves no part running."""
    recorder = Recorder()
    with pytest.raises(asyncio.CancelledError):
        async with running(recorder.parts()):
            raise asyncio.CancelledError
    assert [f"stop {name}" for name in reversed(NAMES)] == recorder.calls[3:]


async def test_background_work_runs_until_it_is_stopped() -> None:
    """Its work begins with the start, and the stop cancels it and is expected: nothing is reported."""
    states: list[str] = []
    reported: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: reported.append(unexpected_end_of(context)))

    async def work() -> None:
        states.append("running")
        try:
            await asyncio.Event().wait()
        finally:
            states.append("cancelled")

    part = background("watch", work)
    assert [] == states
    async with running([part]):
        await asyncio.sleep(0)
        assert ["running"] == states
    assert ["running", "cancelled"] == states
    assert [] == reported
