"""Shows this worker's live boards to the other workers of its group, so that a board has one socket to Phoenix.

A request of a follower is answered once the board is proven to be younger than the request, so a follower tracks the
age as if it had asked Phoenix itself. shared_topics.py is the other side.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import orjson

from gateway.core.board import DEFAULT_PAGE_SIZE, Topic, first
from gateway.errors import GatewayError
from gateway.resilience.clock import Clock
from gateway.resilience.supervision import run_job
from gateway.streams.board_connection import BoardConnection
from gateway.streams.hub import Hub
from gateway.streams.relay_messages import ALIVE, CHECK_EVERY_S, decode_topic, encode_page, read_message, write_message
from gateway.streams.subscriber import Subscriber

_JOB = "live-board-relay"
_PROOF_WITHIN_S = 1.0
"""How often the age is looked at while an answer of Phoenix is awaited."""
_ENDS = (GatewayError, OSError, asyncio.IncompleteReadError, ValueError, TypeError, KeyError)
"""How a session ends: the board ended, the follower left, or speaks another version."""


class BoardRelay:
    """Accepts the followers of this worker, from `start` to `stop`."""

    def __init__(self, hub: Hub, clock: Clock, path: Path) -> None:
        """Args: `path`: of the Unix socket."""
        self._hub = hub
        self._clock = clock
        self._path = path
        self._server: asyncio.Server | None = None
        self._sessions: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen. Raises: OSError."""
        self._server = await asyncio.start_unix_server(self._accept, self._path)

    async def stop(self) -> None:
        """Close the socket and end every session."""
        if self._server is not None:
            self._server.close()
        self._path.unlink(missing_ok=True)
        for session in self._sessions:
            session.cancel()
        await asyncio.gather(*self._sessions, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = run_job(_JOB, self._serve(reader, writer))
        self._sessions.add(session)
        session.add_done_callback(self._sessions.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            topic = decode_topic(await read_message(reader))
            async with AsyncExitStack() as stack:
                await _Session(self._hub, self._clock, topic, reader, writer, stack).run()
        except _ENDS:
            return  # the follower sees the end, and looks for another way to the board
        finally:
            writer.close()


class _Session:
    """One follower of one board. Every page that it gets is of one epoch: it learns of a reconnect by the end."""

    def __init__(
        self,
        hub: Hub,
        clock: Clock,
        topic: Topic,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        stack: AsyncExitStack,
    ) -> None:
        """Args: `stack`: holds the subscriptions."""
        self._hub = hub
        self._clock = clock
        self._topic = topic
        self._reader = reader
        self._writer = writer
        self._stack = stack
        self._size = 0
        self._epoch = ""
        self._showing: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Show the board until either side ends. Raises: `_ENDS`."""
        await self._show_first(DEFAULT_PAGE_SIZE)
        try:
            await self._answer(self._clock.monotonic())
            while True:
                message = orjson.loads(await read_message(self._reader))
                if message["page_size"] > self._size:
                    await self._show_first(message["page_size"])
                if message["type"] == "request_page":
                    await self._answer(self._clock.monotonic())
        finally:
            if self._showing is not None:
                self._showing.cancel()

    async def _show_first(self, count: int) -> None:
        """From now on, show the first `count` entries and their changes."""
        if self._showing is not None:
            self._showing.cancel()
        watcher = await self._stack.enter_async_context(self._hub.subscribe(self._topic, count))
        self._size = count
        self._showing = run_job(_JOB, self._until_end(lambda: self._show_changes(watcher)))

    async def _until_end(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except _ENDS:
            self._writer.close()  # `run` reads the end

    async def _show_changes(self, watcher: Subscriber) -> None:
        while True:
            try:
                async with asyncio.timeout(CHECK_EVERY_S):
                    await watcher.take()
            except TimeoutError:
                if self._connection().lost_at is not None:
                    raise ConnectionError("the board has no connection") from None
                await write_message(self._writer, ALIVE)
                continue
            if self._epoch:  # the first page is an answer
                await self._send(answers=False)

    async def _answer(self, asked_at: float) -> None:
        """Send the board once it is known not to be older than `asked_at`."""
        while not self._writer.is_closing():
            connection = self._connection()
            if connection.state is None and connection.last_failure is not None:
                raise connection.last_failure
            as_of = connection.freshness.as_of
            if as_of is not None and as_of >= asked_at and connection.state is not None:
                await self._send(answers=True)
                return
            connection.request_page()
            await connection.freshness.wait_for_answer(_PROOF_WITHIN_S)

    async def _send(self, *, answers: bool) -> None:
        state = self._connection().state
        if state is None or self._epoch not in ("", state.epoch):
            raise ConnectionError("the board has another connection now")
        self._epoch = state.epoch
        await write_message(self._writer, encode_page(first(state.page, self._size), answers=answers))

    def _connection(self) -> BoardConnection:
        connection = self._hub.live(self._topic)
        if connection is None:
            raise ConnectionError("the board ended")
        return connection
