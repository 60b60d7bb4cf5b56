"""A Phoenix behind the real clients that answers when the test lets it, and keeps what arrived."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from gateway.actions.events.event_memory import EventMemory
from gateway.actions.events.queue_events import QueueEvents
from gateway.actions.events.submit_events import SubmitEvents, SubmitSettings
from gateway.actions.shared.call import Call, Peer
from gateway.actions.shared.contexts import TenantContext
from gateway.actions.shared.directory import TenantDirectory
from gateway.core.types import TenantId
from gateway.core.wire import BulkEnvelope, Event
from gateway.phoenix.auth.socket import Opening
from gateway.phoenix.gamification.admin import AdminClient
from gateway.phoenix.gamification.events import EventsClient, EventsSettings
from gateway.phoenix.gamification.leaderboards import LeaderboardsClient
from gateway.phoenix.gamification.pending_event import Failed, Submitted
from gateway.phoenix.gamification.snapshots import SnapshotsClient
from gateway.phoenix.http_types import Answer, ExchangeFailed, Request, Sender
from gateway.phoenix.retry import RetryingSender
from gateway.resilience.clock import SystemClock
from gateway.resilience.deadline import Deadline
from tests.full_grant import FULL_GRANT

CLOCK = SystemClock()
TENANT = TenantId("t")
Pause = Callable[[float], Awaitable[None]]
Says = Callable[[Request, list[str]], int | Answer | ExchangeFailed]
BULK: list[BulkEnvelope | None] = [None, "events", "array"]


class GatedPhoenix:
    """Takes single and bulk calls. While `is_open` is False, each call waits for `let_go`."""

    def __init__(self, says: Says = lambda request, ids: 202) -> None:
        self._says = says
        self._gates: list[asyncio.Future[None]] = []
        self.is_open = True
        self.calls: list[tuple[str, list[str]]] = []
        """Path and event ids of each call, in the order of their arrival."""
        self.users: list[str] = []
        """User ids of all events, in the order of their arrival."""
        self.most_at_once = 0
        self._now = 0

    async def send(self, request: Request, deadline: Deadline, max_answer_bytes: int = 0) -> Answer:
        body: Any = json.loads(request.body)
        events = body if isinstance(body, list) else body.get("events", [body])
        ids = [event["event_id"] for event in events]
        self.calls.append((request.raw_path, ids))
        self.users += [event["user_id"] for event in events]
        self._now += 1
        self.most_at_once = max(self.most_at_once, self._now)
        try:
            if not self.is_open:
                gate = asyncio.get_running_loop().create_future()
                self._gates.append(gate)
                await gate
            else:
                await asyncio.sleep(0)
        finally:
            self._now -= 1
        said = self._says(request, ids)
        if isinstance(said, ExchangeFailed):
            raise said
        return Answer(status=said) if isinstance(said, int) else said

    def let_go(self, call: int | None = None) -> None:
        """Release the n-th waiting call, or all current and later calls."""
        if call is None:
            self.is_open = True
        for gate in self._gates[:] if call is None else [self._gates[call]]:
            if not gate.done():
                gate.set_result(None)

    @property
    def ids(self) -> list[str]:
        """All event ids, in the order of their arrival."""
        return [event_id for _, ids in self.calls for event_id in ids]


def client_of(
    phoenix: Sender,
    *,
    bulk: BulkEnvelope | None = "events",
    deduplicates: bool = False,
    pause: Pause = asyncio.sleep,
) -> EventsClient:
    """The real client before it. `pause`: waits between tries."""
    return EventsClient(
        retrying=RetryingSender(sender=phoenix, clock=CLOCK, pause=pause),
        base_url="http://localhost",
        tenant_id=TENANT,
        authorize=lambda method, path, body: {},
        settings=EventsSettings(bulk=bulk, deduplicates=deduplicates),
    )


def room_of(
    phoenix: Sender,
    *,
    bulk: BulkEnvelope | None = "events",
    deduplicates: bool = False,
    pause: Pause = asyncio.sleep,
) -> TenantContext:
    """The tenant before it."""
    retrying = RetryingSender(sender=phoenix, clock=CLOCK)
    other: Any = {"retrying": retrying, "base_url": "http://localhost", "tenant_id": TENANT}
    return TenantContext(
        tenant_id=TENANT,
        events=client_of(phoenix, bulk=bulk, deduplicates=deduplicates, pause=pause),
        boards=LeaderboardsClient(**other, authorize=lambda method, path, body: {}),
        snapshots=SnapshotsClient(**other, authorize=lambda method, path, body: {}),
        admin=AdminClient(**other, authorize=lambda method, path, body: {}),
        socket_base_url="ws://localhost",
        authorize_socket=lambda leaderboard_id: Opening(path=leaderboard_id),
        send_event_id=True,
    )


def submit_to(
    phoenix: Sender,
    *,
    bulk: BulkEnvelope | None = "events",
    deduplicates: bool = False,
    memory: EventMemory | None = None,
    settings: SubmitSettings | None = None,
    queue: QueueEvents | None = None,
    pause: Pause = asyncio.sleep,
) -> SubmitEvents:
    """The whole action before it."""
    numbers = itertools.count()
    room = room_of(phoenix, bulk=bulk, deduplicates=deduplicates, pause=pause)
    tenants = TenantDirectory({TENANT: room})
    return SubmitEvents(tenants, CLOCK, lambda: f"made-{next(numbers)}", memory, settings, queue)


def event(event_id: str, user: str = "ada", score: float = 1.0, **more: Any) -> Event:
    return Event(event_id=event_id, leaderboard_id="xp", user_id=user, score_delta=score, **more)


def soon(seconds: float = 5.0) -> Deadline:
    return Deadline.after(seconds, CLOCK)


def call(seconds: float = 5.0) -> Call:
    return Call(
        method="/t/T",
        peer=Peer(address="here"),
        request_id="r",
        deadline=soon(seconds),
        arrived_at=0.0,
        grant=FULL_GRANT,
    )


async def until(condition: Callable[[], bool], within_s: float = 5.0) -> None:
    """Let others run until the condition holds. Raises: TimeoutError."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.001)


def said(results: Sequence[Submitted | Failed]) -> list[str]:
    return [
        ("duplicate" if one.duplicate else "accepted") if isinstance(one, Submitted) else one.error.reason
        for one in results
    ]
