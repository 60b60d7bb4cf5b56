"""Callers that send events through a gateway that is killed, and keep the result of each event.

A caller repeats an event until it has a definite answer. `Load.verdict` checks the end.
"""

from __future__ import annotations

import asyncio
import enum
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2

from gateway.v1 import events_pb2, events_pb2_grpc
from tests.gateway_process import reason_of
from tests.sandbox_process import SandboxProcess

OPTIONS = (("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 100))
CALL_S = 10.0
AGAIN_S = 0.03
LATER = frozenset(
    {
        *("OVERLOADED", "PHOENIX_RATE_LIMITED", "CIRCUIT_OPEN", "STORE_UNAVAILABLE", "DEADLINE_TOO_SHORT"),
        *("PHOENIX_TIMEOUT", "STOPPING"),
    }
)


class Report(enum.Enum):
    """The last answer for an event."""

    ACCEPTED = "accepted"
    QUEUED = "queued"
    UNKNOWN = "unknown"
    """OUTCOME_UNKNOWN."""
    LOST = "lost"
    """The call broke, and the caller may not send it again."""
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """How callers act. `resends_lost`: after a broken call, under the same id; `resends_unknown`: likewise."""

    durable: bool = False
    resends_lost: bool = True
    resends_unknown: bool = False
    singles: int = 6
    batches: int = 2
    streams: int = 1
    batch_size: int = 40
    users: int = 15
    """The number of users of the events; 0 means a different user each time."""
    own_user: bool = False
    """Each caller's events have their own user, with increasing scores."""
    pause_s: float = 0.0
    """Between the calls of one caller."""


class Load:
    """Callers side by side, from `start` until `finish`."""

    def __init__(self, address: str, options: LoadOptions) -> None:
        self._address = address
        self._options = options
        self._ends = False
        self._made = 0
        self._running: asyncio.Task[None] | None = None
        self.reports: dict[str, Report] = {}
        self.refusals: Counter[str] = Counter()
        self.broken_calls = 0

    def start(self) -> None:
        self._running = asyncio.get_running_loop().create_task(self._run())

    async def finish(self, within_s: float = 90.0) -> None:
        """Begin nothing new; wait until every caller has a definite answer. Raises: TimeoutError."""
        self._ends = True
        assert self._running is not None
        async with asyncio.timeout(within_s):
            await self._running

    async def answered(self, more: int = 1, within_s: float = 90.0) -> None:
        """Wait until so many more events have their answer. Raises: AssertionError."""
        assert self._running is not None
        wanted = len(self.reports) + more
        for _ in range(int(within_s / 0.01)):
            if len(self.reports) >= wanted or self._running.done():
                return
            await asyncio.sleep(0.01)
        raise AssertionError(f"no answers: {self.refusals}")

    def verdict(self, sandbox: SandboxProcess) -> dict[Report, Counter[int]]:
        """Return how often the sandbox accepted events, by the last answer to their callers."""
        found: dict[Report, Counter[int]] = {}
        for event_id, count in self._effects(sandbox):
            found.setdefault(self.reports[event_id], Counter())[count] += 1
        return found

    def never_taken(self, sandbox: SandboxProcess) -> set[str]:
        """Return the ids that the sandbox has not taken so far."""
        return {event_id for event_id, count in self._effects(sandbox) if not count}

    def _effects(self, sandbox: SandboxProcess) -> Iterator[tuple[str, int]]:
        ids = list(self.reports)
        for at in range(0, len(ids), 5000):
            yield from sandbox.control("POST", "/effects", {"event_ids": ids[at : at + 5000]})["effects"].items()

    async def _run(self) -> None:
        async with grpc.aio.insecure_channel(self._address, options=OPTIONS) as channel:
            stub = events_pb2_grpc.EventServiceStub(channel)
            async with asyncio.TaskGroup() as group:
                for _ in range(self._options.singles):
                    group.create_task(self._caller(stub, 1))
                for _ in range(self._options.batches):
                    group.create_task(self._caller(stub, self._options.batch_size))
                for _ in range(self._options.streams):
                    group.create_task(self._streamer(stub))

    def _events(self, count: int, caller: str) -> dict[str, events_pb2.Event]:
        made: dict[str, events_pb2.Event] = {}
        for place in range(count):
            event_id = str(uuid.uuid4())
            self._made += 1
            users = self._options.users
            user = caller if self._options.own_user else f"u{place % users}" if users else f"u-{event_id}"
            made[event_id] = events_pb2.Event(
                event_id=event_id, leaderboard_id="xp", user_id=user, score_delta=self._made
            )
        return made

    async def _caller(self, stub: events_pb2_grpc.EventServiceAsyncStub, size: int) -> None:
        caller = f"caller-{uuid.uuid4()}"
        while not self._ends:
            await asyncio.sleep(self._options.pause_s)
            pending = self._events(size, caller)
            while pending:
                try:
                    results = await self._call(stub, pending)
                except grpc.aio.AioRpcError as error:
                    self._failed(pending, error)
                else:
                    self._settle(pending, results)
                if pending:
                    await asyncio.sleep(AGAIN_S)

    async def _call(
        self, stub: events_pb2_grpc.EventServiceAsyncStub, pending: dict[str, events_pb2.Event]
    ) -> Sequence[events_pb2.EventResult]:
        events = list(pending.values())
        if len(events) == 1:
            request = events_pb2.SubmitEventRequest(event=events[0], **self._how)
            one = await stub.SubmitEvent(request, timeout=CALL_S, wait_for_ready=True)
            return [events_pb2.EventResult(event_id=one.event_id, status=one.status)]
        many = events_pb2.SubmitEventsRequest(events=events, **self._how)
        return (await stub.SubmitEvents(many, timeout=CALL_S, wait_for_ready=True)).results

    async def _streamer(self, stub: events_pb2_grpc.EventServiceAsyncStub) -> None:
        pending: dict[str, events_pb2.Event] = {}
        while pending or not self._ends:
            try:
                stream = stub.StreamEvents(wait_for_ready=True)
                async for results in self._over(stream, pending):
                    self._settle(pending, results)
            except grpc.aio.AioRpcError as error:
                self._failed(pending, error)
                await asyncio.sleep(AGAIN_S)
            except asyncio.InvalidStateError:  # it broke between two messages, of which the last has its answer
                await asyncio.sleep(AGAIN_S)

    async def _over(
        self,
        stream: grpc.aio.StreamStreamCall[events_pb2.StreamEventsRequest, events_pb2.StreamEventsResponse],
        pending: dict[str, events_pb2.Event],
    ) -> AsyncIterator[Sequence[events_pb2.EventResult]]:
        sequence = 0
        caller = f"streamer-{id(self)}"
        while pending or not self._ends:
            if not pending:
                await asyncio.sleep(self._options.pause_s)
                if stream.done():
                    return
                pending.update(self._events(self._options.batch_size, caller))
            sequence += 1
            request = events_pb2.StreamEventsRequest(sequence=sequence, events=pending.values(), **self._how)
            await stream.write(request)
            answer = await stream.read()
            if not isinstance(answer, events_pb2.StreamEventsResponse):  # the end
                raise grpc.aio.AioRpcError(
                    await stream.code(), await stream.initial_metadata(), await stream.trailing_metadata()
                )
            yield answer.results
        await stream.done_writing()

    @property
    def _how(self) -> dict[str, Any]:
        return {"delivery": events_pb2.Delivery.Value("DELIVERY_DURABLE")} if self._options.durable else {}

    def _failed(self, pending: dict[str, events_pb2.Event], error: grpc.aio.AioRpcError) -> None:
        reason = reason_of(error)
        if reason:
            for event_id in list(pending):
                self._refused(pending, event_id, reason)
            return
        self.broken_calls += 1
        if not self._options.resends_lost:
            for event_id in list(pending):
                self._tell(pending, event_id, Report.LOST)

    def _settle(self, pending: dict[str, events_pb2.Event], results: Sequence[events_pb2.EventResult]) -> None:
        for result in results:
            if result.HasField("error"):
                self._refused(pending, result.event_id, _reason_in(result.error))
            else:
                queued = self._options.durable
                self._tell(pending, result.event_id, Report.QUEUED if queued else Report.ACCEPTED)

    def _refused(self, pending: dict[str, events_pb2.Event], event_id: str, reason: str) -> None:
        self.refusals[reason] += 1
        if reason == "OUTCOME_UNKNOWN":
            if not self._options.resends_unknown:
                self._tell(pending, event_id, Report.UNKNOWN)
        elif reason not in LATER and reason != "PHOENIX_UNAVAILABLE":
            self._tell(pending, event_id, Report.REFUSED)

    def _tell(self, pending: dict[str, events_pb2.Event], event_id: str, reported: Report) -> None:
        del pending[event_id]
        self.reports[event_id] = reported


def _reason_in(status: status_pb2.Status) -> str:
    info = error_details_pb2.ErrorInfo()
    return info.reason if status.details and status.details[0].Unpack(info) else ""
