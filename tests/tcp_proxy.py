"""A TCP proxy in the test's event loop: counts round trips, delays, and swallows like a NAT that forgot a flow."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Self


class TcpProxy:
    """Forwards to one port on loopback. The attributes may be changed while it runs."""

    def __init__(self, port: int, *, delay_s: float = 0.0) -> None:
        """Args: `delay_s`: in each direction."""
        self.target = port
        self.delay_s = delay_s
        self.swallow_after_s = float("inf")
        """A flow that was silent for longer is forgotten, as by a NAT."""
        self.is_cut = False
        """Once true, the next answers are lost with their connections, and new connections are closed at once."""
        self.at_lost_commit: Callable[[], Awaitable[object]] | None = None
        """Set, the next COMMIT's answer is lost with its connection, once this has run: PostgreSQL has committed."""
        self.turns = 0
        """How often a client began to send after it had got an answer: the round trips, over all connections."""
        self.opened = 0
        """Connections that were accepted."""
        self.port = 0
        self._flows: set[_Flow] = set()
        self._server: asyncio.Server | None = None

    def url_of(self, url: str) -> str:
        """The URL of a database with this proxy in between."""
        return url.replace(f":{self.target}/", f":{self.port}/")

    def swallow_idle(self) -> None:
        """Forget every flow there is: what its ends send arrives nowhere, and nothing is closed. New ones work."""
        for flow in self._flows:
            flow.is_swallowed = True

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for flow in list(self._flows):
            flow.cancel()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        if self.is_cut:
            writer.close()
            return
        flow = _Flow(self)
        self._flows.add(flow)
        try:
            await flow.run(reader, writer)
        except asyncio.CancelledError:
            pass  # the end of the test
        finally:
            self._flows.discard(flow)


class _Flow:
    """One connection."""

    def __init__(self, proxy: TcpProxy) -> None:
        self.is_swallowed = False
        self._proxy = proxy
        self._was_answered = True
        self._commits = False
        self._heard_at = asyncio.get_running_loop().time()
        self._tasks: list[asyncio.Task[None]] = []

    def cancel(self) -> None:
        """End the flow."""
        for task in self._tasks:
            task.cancel()

    async def run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_server: asyncio.StreamWriter | None = None
        try:
            from_server, to_server = await asyncio.open_connection("127.0.0.1", self._proxy.target)
            self._tasks = [
                asyncio.create_task(self._pump(reader, to_server, is_client=True)),
                asyncio.create_task(self._pump(from_server, writer, is_client=False)),
            ]
            await asyncio.wait(self._tasks)
        except OSError:
            pass  # nobody listens: the client sees its connection close
        finally:
            for one in (writer, to_server):
                if one is not None:
                    one.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_client: bool) -> None:
        loop = asyncio.get_running_loop()
        held: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        sender = asyncio.create_task(self._send(held, writer))
        try:
            while data := await reader.read(65536):
                if self._proxy.is_cut and not is_client:
                    break
                if is_client:
                    self._commits = b"\0COMMIT\0" in data
                elif self._commits and (at_lost := self._proxy.at_lost_commit) is not None:
                    self._proxy.at_lost_commit = None
                    await at_lost()
                    break
                if is_client and self._was_answered:
                    self._proxy.turns += 1
                self._was_answered = not is_client
                if loop.time() - self._heard_at > self._proxy.swallow_after_s:
                    self.is_swallowed = True
                self._heard_at = loop.time()
                if not self.is_swallowed:
                    held.put_nowait((loop.time() + self._proxy.delay_s, data))
        except OSError:
            pass
        finally:
            if not self.is_swallowed:
                held.put_nowait((loop.time() + self._proxy.delay_s, b""))
                with contextlib.suppress(asyncio.CancelledError):
                    await sender
            sender.cancel()

    async def _send(self, held: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due, data = await held.get()
            await asyncio.sleep(max(0.0, due - loop.time()))
            if not data:
                writer.close()
                return
            if not self.is_swallowed and not writer.is_closing():
                writer.write(data)
