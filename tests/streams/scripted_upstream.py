"""A Phoenix whose live socket the test feeds, and the hub of a gateway before it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import orjson

from gateway.core.board import Frame, Topic
from gateway.core.types import TenantId
from gateway.core.wire import Page
from gateway.core.wire_socket import decode_frame
from gateway.errors import GatewayError
from gateway.resilience.clock import Clock, SystemClock
from gateway.resilience.retry import RetrySettings
from gateway.streams.hub import Hub, HubSettings
from gateway.streams.subscriber import Resync, Subscriber
from gateway.streams.upstream import ChannelClosed, ConnectionSettings, HubDependencies

TOPIC = Topic(TenantId("t"), "xp")


class Channel:
    """A connection that the test feeds; an exception in the queue is raised."""

    def __init__(self) -> None:
        self.incoming: asyncio.Queue[bytes | ChannelClosed] = asyncio.Queue()
        self.sent: list[str] = []
        self.is_closed = False

    async def receive(self) -> Frame:
        message = await self.incoming.get()
        if isinstance(message, ChannelClosed):
            raise message
        return decode_frame(message)

    async def send(self, message: str) -> None:
        self.sent.append(orjson.loads(message)["type"])

    async def close(self) -> None:
        self.is_closed = True

    def show(
        self, score: int, sequence: int, *, users: int = 1, kind: str = "snapshot", total: int | None = None
    ) -> None:
        """Send a page of so many users, of whom the first has the score."""
        entries = [{"rank": n + 1, "user_id": f"u{n}", "score": score - n} for n in range(users)]
        message = {"type": kind, "sequence": sequence, "entries": entries, "total": total}
        self.incoming.put_nowait(orjson.dumps(message))


class Upstream:
    """Opens channels and counts; `refusals` are raised first."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or SystemClock()
        self.channels: list[Channel] = []
        self.refusals: list[GatewayError] = []
        self.encoded = 0
        self.first_score = 1
        self.events: list[str] = []

    async def open(self, topic: Topic) -> Channel:
        if self.refusals:
            raise self.refusals.pop(0)
        self.channels.append(Channel())
        self.channels[-1].show(self.first_score, 1)
        return self.channels[-1]

    def encode(self, page: Page, epoch: str, sequence: int, received_at: float) -> bytes:
        self.encoded += 1
        return b"%d" % page.entries[0].score

    def hub(self, *, grace_s: float = 0.05, queue_limit: int = 4, lost_after_s: float = 60.0, **settings: Any) -> Hub:
        retry = RetrySettings(first_wait_s=0.001, longest_wait_s=0.002)
        connection = ConnectionSettings(**{"retry": retry, "first_board_within_s": 2.0, **settings})
        return Hub(
            HubDependencies(
                open_topic=self.open,
                encode=self.encode,
                clock=self.clock,
                new_epoch=lambda: f"epoch-{len(self.channels)}",
                random=lambda: 0.5,
                on_event=self.events.append,
            ),
            HubSettings(
                grace_s=grace_s,
                queue_limit=queue_limit,
                max_watchers=100,
                lost_after_s=lost_after_s,
                connection=connection,
            ),
        )


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - what is waited for is no event
            await asyncio.sleep(0.001)


async def taken(watcher: Subscriber) -> tuple[bytes, str, int, int, Resync | None]:
    async with asyncio.timeout(5):
        delivery = await watcher.take()
    update = delivery.update
    return (update.payload, update.epoch, update.sequence, delivery.skipped, delivery.resync)
