"""The wallet's HTTP server, no stricter than the gateway: it refuses no webhook by itself.

A server's own limits answer 400, which Phoenix takes as final: a long cookie that a proxy added would drop a payout. So
the limits are generous, every path and method goes to the handler, and what the parser cannot read is a 503.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from aiohttp import web

MAX_BODY_BYTES = 1_048_576
MAX_HEADER_BYTES = 65_536
MAX_HEADERS = 1000
_LIMITS: dict[str, Any] = {
    "max_line_size": MAX_HEADER_BYTES,
    "max_field_size": MAX_HEADER_BYTES,
    "max_headers": MAX_HEADERS,
    # Signatures cover the bytes as received.
    "auto_decompress": False,
    "access_log": None,
}


class _Connection(web.RequestHandler):
    """Answers 503 where the library would answer 400 or 500."""

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Return the answer to a request that the parser cannot read, and close the connection."""
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has begun already")
        logging.getLogger("wallet").warning("unreadable HTTP request: %s", type(exc).__name__)
        response = web.Response(status=503, headers={"Retry-After": "2"})
        response.force_close()
        return response


class WalletServer(web.Server):
    """Hands every request to one handler."""

    def __call__(self) -> web.RequestHandler:
        """Return the protocol of a new connection."""
        return _Connection(self, loop=asyncio.get_running_loop(), **_LIMITS)
