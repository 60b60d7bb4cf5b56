"""The last requests, limited in number and bytes, and the counts of all requests.

A call costs one tuple. The log is encoded only when the control listener reads it.
"""

import base64
from collections import Counter, deque
from typing import Any

from gateway.sandbox.http_types import redact_headers

MAX_REQUESTS = 2_000
MAX_BYTES = 64 * 1024 * 1024

RawHeaders = tuple[tuple[bytes, bytes], ...]
Entry = tuple[float, str, str, str, str, RawHeaders, bytes, int]


class RequestLog:
    """The last requests, and the counts by surface, route and status (0: the connection was closed)."""

    __slots__ = ("_bytes", "_entries", "counts")

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque()
        self._bytes = 0
        self.counts: Counter[tuple[str, str, int]] = Counter()

    def add(self, entry: Entry) -> None:
        """Add one request: (time, surface, method, path, query, headers, body, status)."""
        self._entries.append(entry)
        self._bytes += len(entry[6])
        while len(self._entries) > MAX_REQUESTS or self._bytes > MAX_BYTES:
            self._bytes -= len(self._entries.popleft()[6])

    def clear_requests(self) -> None:
        """Remove the requests. The counts stay."""
        self._entries.clear()
        self._bytes = 0

    def requests(self, surface: str | None = None) -> list[dict[str, Any]]:
        """Return the stored requests, oldest first, with fingerprints in place of credentials."""
        return [
            {
                "time": at,
                "surface": where,
                "method": method,
                "path": path,
                "query": query,
                "headers": redact_headers(headers),
                "body_base64": base64.b64encode(body).decode(),
                "status": status,
            }
            for at, where, method, path, query, headers, body, status in self._entries
            if surface in (None, where)
        ]

    def counts_as_list(self) -> list[dict[str, Any]]:
        """Return the counts as a list, most frequent first."""
        return [
            {"surface": surface, "route": route, "status": status, "count": count}
            for (surface, route, status), count in self.counts.most_common()
        ]
