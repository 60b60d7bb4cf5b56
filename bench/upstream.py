"""A minimal, fast Phoenix for measurements. It implements HTTP/1.1 itself, so that it is not the bottleneck.

It checks the HMAC of every event and answers 202, or 401 if the HMAC is wrong, and counts both. It also serves a board,
ranks and a platform key. The sandbox is more faithful but much slower. Environment: INGESTION_HMAC_SECRET,
PLATFORM_KEY_PEM, UPSTREAM_DELAY_MS (how late it answers events). It prints its port when it serves.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import os
import sys
from collections import Counter
from collections.abc import Mapping
from typing import cast

from bench.boards import page_body, rank_body

MAX_HEAD_BYTES = 65_536


class Upstream:
    """The state that all connections share: the secret, the key and the counts."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.secret = environ["INGESTION_HMAC_SECRET"].encode()
        self.key = environ.get("PLATFORM_KEY_PEM", "").encode()
        self.delay_s = float(environ.get("UPSTREAM_DELAY_MS", "0")) / 1000
        self.counts: Counter[str] = Counter()
        self.page = page_body()

    def answer(self, method: bytes, path: bytes, headers: Mapping[bytes, bytes], body: bytes) -> bytes:
        """Return the complete answer to one request."""
        if method == b"POST" and path in (b"/v1/events", b"/v1/events/bulk"):
            at = headers.get(b"x-timestamp", b"")
            tag = hmac.digest(self.secret, b"POST\n" + path + b"\n" + at + b"\n" + body, "sha256").hex()
            if not hmac.compare_digest(headers.get(b"x-signature", b""), b"hmac-sha256=" + tag.encode()):
                self.counts["refused"] += 1
                return _answer(b"401 Unauthorized", b'{"error":"signature"}')
            # Every event has this member once. Parsing 100 events would make this server the bottleneck.
            self.counts["accepted"] += body.count(b'"tenant_id":')
            return _answer(b"202 Accepted", b'{"status":"accepted"}')
        if method == b"GET" and path.startswith(b"/v1/leaderboards/"):
            self.counts["reads"] += 1
            _, is_rank, user = path.partition(b"/rank/")
            return _answer(b"200 OK", rank_body(user.decode()) if is_rank else self.page)
        if method == b"GET" and path == b"/.well-known/signing-key.pem":
            self.counts["key_fetches"] += 1
            return _answer(b"200 OK", self.key, b"application/x-pem-file")
        if method == b"POST" and path == b"/v1/traces":
            self.counts["trace_exports"] += 1
            return _answer(b"200 OK", b"")
        if method == b"GET" and path == b"/counts":
            return _answer(b"200 OK", json.dumps(self.counts).encode())
        if method == b"GET" and path == b"/health":
            return _answer(b"200 OK", b'{"status":"healthy"}')
        self.counts["unknown"] += 1
        return _answer(b"404 Not Found", b"{}")


class Connection(asyncio.Protocol):
    """One keep-alive connection. Requests have a Content-Length and may be pipelined."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._incoming = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's class does not derive from asyncio's

    def data_received(self, data: bytes) -> None:
        """Answer every complete request. Close the connection after an invalid one."""
        assert self._transport is not None
        self._incoming += data
        while True:
            head, found, rest = self._incoming.partition(b"\r\n\r\n")
            if not found:
                if len(head) > MAX_HEAD_BYTES:
                    self._transport.close()
                return
            lines = head.split(b"\r\n")
            pairs = (line.partition(b":") for line in lines[1:])
            headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
            if b"transfer-encoding" in headers:
                self._transport.close()
                return
            length = int(headers.get(b"content-length", b"0"))
            if len(rest) < length:
                return
            method, path, _ = lines[0].split(b" ", 2)
            answer = self._upstream.answer(method, path, headers, rest[:length])
            if self._upstream.delay_s and method == b"POST":  # clients do not pipeline posts
                asyncio.get_running_loop().call_later(self._upstream.delay_s, self._transport.write, answer)
            else:
                self._transport.write(answer)
            self._incoming = rest[length:]
            if headers.get(b"connection", b"").lower() == b"close":
                self._transport.close()
                return
            if not self._incoming:
                return


def _answer(status: bytes, body: bytes, content_type: bytes = b"application/json") -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n%b" % (status, content_type, len(body), body)


async def serve() -> None:
    """Serve until the process ends."""
    upstream = Upstream(os.environ)
    listener = await asyncio.get_running_loop().create_server(lambda: Connection(upstream), "127.0.0.1", 0)
    sys.stdout.write(f"{listener.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await listener.serve_forever()


if __name__ == "__main__":
    import uvloop

    uvloop.run(serve())
