"""Runs several processes that share the ports (`GATEWAY_WORKERS`): restarts those that die, and rolls all on SIGHUP.

Each worker is a whole gateway. Its place in the group, the seat, outlives it: the parent keeps the seat's listening
sockets, so that connections wait for the next process instead of being refused.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gateway.front.worker_peers import ask
from gateway.resilience.supervision import SupervisedTask, unexpected_end_of
from gateway.server.process.inherited import WorkerSeat
from gateway.telemetry.logs import log, where_raised

STOP_MARGIN_S = 5.0
"""How long after its drain time a worker that has not stopped is killed."""
READY_WITHIN_S = 60.0
"""When a roll gives up on a new worker and keeps the old one."""
_POLL_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartTimes:
    """When a worker that died is started again, in seconds."""

    first_s: float = 0.1
    longest_s: float = 30.0
    stable_after_s: float = 10.0
    """A worker that lived this long had started: after its end, the waits begin again with the first one."""


@dataclass(slots=True)
class _Place:
    seat: WorkerSeat
    process: asyncio.subprocess.Process | None = None
    started: int = 0
    started_at: float = 0.0
    deaths: int = field(default=0)


class Workers:
    """The group. Use it in the thread of an event loop; `run` ends when all processes have ended."""

    def __init__(
        self,
        seats: Sequence[WorkerSeat],
        drain_s: float,
        times: RestartTimes | None = None,
        command: Sequence[str] = (sys.executable, "-m", "gateway", "serve"),
        hands_on: int | None = None,
    ) -> None:
        """Args: `drain_s`: how long a worker takes to stop. `command`: starts a worker.

        `hands_on`: a descriptor that this process inherited and that workers use too.
        """
        # The first three are inherited anyway.
        self._handed_on = () if hands_on is None or hands_on < 3 else (hands_on,)
        self._command = tuple(command)
        self._places = [_Place(seat) for seat in seats]
        self._within_s = drain_s + STOP_MARGIN_S
        self._times = times or RestartTimes()
        self._stopping = asyncio.Event()
        self._roll_wanted = asyncio.Event()
        self._failure = 0

    async def run(self) -> int:
        """Run until a signal arrives or no worker can start; return the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, number)
        loop.add_signal_handler(signal.SIGHUP, self._roll_wanted.set)
        loop.set_exception_handler(self._on_loop_exception)
        for place in self._places:
            await self._spawn(place)
        log().info("workers started", workers=len(self._places), pid=os.getpid())
        rolling = SupervisedTask("worker-roll", self._roll_when_asked())
        await asyncio.gather(*(self._keep(place) for place in self._places))
        await rolling.stop()
        return self._failure

    async def _spawn(self, place: _Place) -> asyncio.subprocess.Process:
        """Start the next process of a seat. Its own admin socket has a new name, so that the old one can be let go."""
        place.started += 1
        path = Path(place.seat.socket_path).with_name(f"{place.seat.number}.{place.started}.sock")
        seat = replace(place.seat, socket_path=str(path))
        place.process = await asyncio.create_subprocess_exec(
            *self._command,
            env={**os.environ, **seat.environ()},
            pass_fds=(*seat.descriptors, *self._handed_on),
        )
        place.seat, place.started_at = seat, time.monotonic()
        if self._stopping.is_set():  # the signal came while it was started
            _signal(place.process, signal.SIGTERM)
        return place.process

    async def _keep(self, place: _Place) -> None:
        """Start the seat's process again whenever it dies, until the group stops."""
        while not self._stopping.is_set():
            process = place.process
            assert process is not None
            code = await process.wait()
            if place.process is not process:
                continue  # a roll has replaced it
            _forget(place.seat)
            if self._stopping.is_set():
                break
            lived_s = time.monotonic() - place.started_at
            if code > 0 and place.started == 1 and lived_s < self._times.stable_after_s:  # the next one would fail too
                log().error("a worker did not start; the gateway stops", worker=place.seat.number, exit_code=code)
                self._fail(code)
                break
            await self._wait_before_restart(place, code, lived_s)
            while not self._stopping.is_set() and place.process is process:  # a roll may have started the next one
                try:
                    await self._spawn(place)
                except OSError as error:
                    log().error("a worker could not be started again", worker=place.seat.number, **_cause(error))
                    await self._pause(self._times.longest_s)
        await self._end(place)

    async def _wait_before_restart(self, place: _Place, code: int, lived_s: float) -> None:
        place.deaths = 1 if lived_s >= self._times.stable_after_s else place.deaths + 1
        wait_s = min(self._times.longest_s, self._times.first_s * 2 ** (place.deaths - 1))
        log().error(
            "a worker ended by itself and is started again",
            worker=place.seat.number,
            exit_code=code,
            lived_s=round(lived_s, 1),
            wait_s=wait_s,
        )
        await self._pause(wait_s)

    async def _pause(self, seconds: float) -> None:
        """Return after this time, or when the group stops."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    async def _end(self, place: _Place) -> None:
        """Wait for the end of a process that has to stop. Kill it when it takes too long."""
        process = place.process
        if process is not None and process.returncode is None:
            self._failure = await self._end_of(process, place.seat) or self._failure

    async def _end_of(self, process: asyncio.subprocess.Process, seat: WorkerSeat) -> int:
        """Return the exit code of a process that has to stop; 1 for one that has to be killed."""
        try:
            return await asyncio.wait_for(process.wait(), self._within_s)
        except TimeoutError:
            trouble = f"it did not end within {self._within_s:g} s"
            log().error("a worker did not stop in time and is killed", worker=seat.number, trouble=trouble)
            process.kill()
            await process.wait()
            return 1

    def _stop(self, number: signal.Signals) -> None:
        """Pass a signal on to all workers. The second one omits their delay."""
        self._stopping.set()
        for place in self._places:
            _signal(place.process, number)

    def _on_loop_exception(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Stop the group if the task that rolls it ended: SIGHUP would do nothing from then on."""
        end = unexpected_end_of(context)
        if end is None:
            loop.default_exception_handler(context)
            return
        cause = {"trouble": "it returned"} if end.error is None else where_raised(end.error)
        log().error("a background task ended; the gateway stops", task=end.name, **cause)
        self._fail(1)

    def _fail(self, code: int) -> None:
        self._failure = code
        self._stop(signal.SIGINT)

    async def _roll_when_asked(self) -> None:
        """Replace the workers one by one at each SIGHUP. Several signals during a roll make one more roll."""
        while True:
            await self._roll_wanted.wait()
            self._roll_wanted.clear()
            if all([await self._replace(place) for place in self._places]):
                log().info("workers rolled", workers=len(self._places))

    async def _replace(self, place: _Place) -> bool:
        """Start a seat's next process and stop the one before. Return False when the next one did not become ready."""
        before, seat = place.process, place.seat
        try:
            process = await self._spawn(place)
        except OSError as error:
            log().error(
                "a new worker could not be started; the one before goes on", worker=seat.number, **_cause(error)
            )
            return False
        if self._stopping.is_set() or not await self._becomes_ready(process, place.seat):
            log().error(
                "a new worker did not become ready; the one before goes on",
                worker=seat.number,
                trouble=self._why_not_ready(process),
            )
            _signal(process, signal.SIGKILL)
            await process.wait()
            _forget(place.seat)
            place.process, place.seat = before, seat
            if self._stopping.is_set():
                _signal(before, signal.SIGTERM)
            return False
        _forget(seat)
        _signal(before, signal.SIGINT)  # no delay: the new one serves
        if before is not None:
            await self._end_of(before, seat)
        return True

    def _why_not_ready(self, process: asyncio.subprocess.Process) -> str:
        if self._stopping.is_set():
            return "the gateway stops"
        if process.returncode is not None:
            return f"it ended with exit code {process.returncode}"
        return f"/readyz was not 200 within {READY_WITHIN_S:g} s"

    async def _becomes_ready(self, process: asyncio.subprocess.Process, seat: WorkerSeat) -> bool:
        until = time.monotonic() + READY_WITHIN_S
        while process.returncode is None and time.monotonic() < until and not self._stopping.is_set():
            answer = await ask(seat.socket_path, "/readyz")
            if answer is not None and answer.status == 200:
                return True
            await asyncio.sleep(_POLL_S)
        return False


def _cause(error: OSError) -> dict[str, str]:
    """Describe why the system makes no new process."""
    return {
        "trouble": f"the system makes no new process ({error.strerror})",
        "advice": "check the limits of open files, processes and memory",
    }


def _signal(process: asyncio.subprocess.Process | None, number: signal.Signals) -> None:
    if process is not None and process.returncode is None:
        process.send_signal(number)


def _forget(seat: WorkerSeat) -> None:
    Path(seat.socket_path).unlink(missing_ok=True)
    seat.boards_path.unlink(missing_ok=True)
