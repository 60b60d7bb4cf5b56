"""Watch a board live: the steps from a request to a stream of serialised boards.

All watchers of a board share one upstream socket and every message (streams/hub.py).
Source: API.md, WatchLeaderboard; gamification.md 3.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from gateway.actions.boards.cached_read import not_found
from gateway.actions.shared.call import Call
from gateway.actions.shared.contexts import TenantContext
from gateway.actions.shared.directory import TenantDirectory
from gateway.core.board import DEFAULT_PAGE_SIZE, Frame, Topic
from gateway.core.wire_socket import decode_frame
from gateway.errors import PhoenixNotFound, PhoenixRefusedInput, PhoenixRefusedState, PhoenixTimeout
from gateway.phoenix.answers import Surface
from gateway.phoenix.gamification.realtime import BoardSocket, RealtimeClient, SocketClosed
from gateway.resilience.clock import Clock
from gateway.resilience.deadline import Deadline
from gateway.streams.hub import Hub
from gateway.streams.subscriber import Delivery, Subscriber
from gateway.streams.upstream import ChannelClosed

_WHY_WITHIN_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """A request to watch a board. `page_size` None: the default; `top_n` None: no filter."""

    tenant_id: str
    leaderboard_id: str
    window_key: str
    page_size: int | None
    top_n: int | None


class WatchLeaderboard:
    """The action behind WatchLeaderboard."""

    def __init__(self, tenants: TenantDirectory[TenantContext], hub: Hub) -> None:
        self._tenants = tenants
        self._hub = hub

    async def watch(self, watch: Watch, call: Call) -> AsyncGenerator[Delivery, None]:
        """Yield the board and then its updates, until the caller leaves.

        Raises: TenantUnknown, InvalidField, Overloaded; UpstreamFault if the board cannot be opened, or does not come
        before the deadline; Stopping when this gateway stops.
        """
        context = self._tenants.resolve(watch.tenant_id, call)
        topic = Topic(context.tenant_id, watch.leaderboard_id, watch.window_key)
        size = watch.page_size or DEFAULT_PAGE_SIZE
        count = size if watch.top_n is None else min(size, watch.top_n)
        async with self._hub.subscribe(topic, count) as watcher:
            yield await _first_of(watcher, call.deadline)
            while True:
                yield await watcher.take()


async def _first_of(watcher: Subscriber, deadline: Deadline) -> Delivery:
    """Return the whole board. Raises: PhoenixTimeout, so that a caller who waited in vain learns what it waited for."""
    left_s = deadline.remaining()
    try:
        async with asyncio.timeout(left_s if math.isfinite(left_s) else None):
            return await watcher.take()
    except TimeoutError:
        message = "Phoenix did not send the board within the deadline. Try again with a longer one, or without."
        raise PhoenixTimeout(message, metadata={"surface": Surface.QUERY.value}) from None


class OpenBoard:
    """The `open_topic` of the streams room: opens a signed socket of the topic's tenant."""

    def __init__(self, tenants: TenantDirectory[TenantContext], realtime: RealtimeClient, clock: Clock) -> None:
        self._tenants = tenants
        self._realtime = realtime
        self._clock = clock

    async def __call__(self, topic: Topic) -> _Channel:
        """Open the socket. Raises: UpstreamFault, KeyUnknown."""
        context = self._tenants.configured(topic.tenant_id)
        try:
            socket = await self._realtime.open(context.socket_base_url, context.authorize_socket(topic.leaderboard_id))
        except (PhoenixNotFound, PhoenixRefusedState, PhoenixRefusedInput):
            # A refused handshake has no body with the reason. A read of the same board returns it.
            try:
                await context.boards.page(
                    topic.leaderboard_id,
                    Deadline.after(_WHY_WITHIN_S, self._clock),
                    limit=1,
                    offset=0,
                    window_key=topic.window_key,
                )
            except PhoenixNotFound as absent:
                raise not_found(("leaderboard_id", "window_key"), absent) from None
            raise
        return _Channel(socket)


class _Channel:
    """Adapts the socket to the Channel protocol of the streams room."""

    def __init__(self, socket: BoardSocket) -> None:
        self._socket = socket

    async def receive(self) -> Frame:
        try:
            return decode_frame(await self._socket.receive())
        except SocketClosed as closed:
            raise ChannelClosed(silent=closed.silent, outdated=closed.outdated) from None

    async def send(self, message: str) -> None:
        try:
            await self._socket.send(message)
        except SocketClosed as closed:
            raise ChannelClosed(silent=closed.silent, outdated=closed.outdated) from None

    async def close(self) -> None:
        await self._socket.close()
