"""A name whose address changes: a port that passes connections on to a server that can be replaced.

Connections that exist stay with the server that they were made to, as with DNS.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self


class Forwarder:
    """Use it as an async context manager in the loop of the test. `made`: how many connections were passed on."""

    def __init__(self, port: int) -> None:
        """Args: `port`: of the first server, on 127.0.0.1."""
        self._target = port
        self._server: asyncio.Server | None = None
        self._running: set[asyncio.Task[None]] = set()
        self.made = 0
        self.port = 0

    def lead_to(self, port: int) -> None:
        """From now on new connections go to this port."""
        self._target = port

    def refuse(self) -> None:
        """From now on new connections are refused; those that exist stay."""
        assert self._server is not None
        self._server.close()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.close()
            return
        self.made += 1
        try:
            await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
        except asyncio.CancelledError:
            pass  # the end of the test
        finally:
            writer.close()
            far_writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()
