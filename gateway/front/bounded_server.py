"""aiohttp's HTTP server with bounds that hold whatever a client does: how many connections, and how long each lives."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler


class BoundedServer(web.Server):
    """Makes the protocol of each connection; give it to `loop.create_server`."""

    def __init__(self, handler: Any, *, connection_s: float, max_connections: int, **options: Any) -> None:
        """Args: `options`: of aiohttp's RequestHandler."""
        super().__init__(handler, **options)
        self._connection_s = connection_s
        self._max_connections = max_connections
        self._ends: dict[RequestHandler, asyncio.TimerHandle] = {}

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        """Begin the time of a connection, or cut it when there are too many."""
        super().connection_made(handler, transport)
        if len(self._ends) >= self._max_connections:
            transport.abort()
            return
        # Through abort, so that a client that does not read cannot hold it open.
        self._ends[handler] = asyncio.get_running_loop().call_later(self._connection_s, transport.abort)

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        """Forget a connection."""
        super().connection_lost(handler, exc)
        if (end := self._ends.pop(handler, None)) is not None:
            end.cancel()

    async def close(self) -> None:
        """Cut every connection that is still open."""
        for handler in list(self._ends):
            if handler.transport is not None:
                handler.transport.abort()
        await self.shutdown(timeout=1.0)
