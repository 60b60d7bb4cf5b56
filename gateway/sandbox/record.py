"""What the sandbox remembers of calls: the last requests, bounded in number and bytes, and counts of all of them.

Cheap while serving (one tuple a call); encoded only when somebody reads.
"""

import base64
from collections import Counter, deque
from typing import Any

from gateway.sandbox.wire import shown_headers

MAX_REQUESTS = 2_000
MAX_BYTES = 64 * 1024 * 1024

RawHeaders = tuple[tuple[bytes, bytes], ...]
Entry = tuple[float, str, str, str, str, RawHeaders, bytes, int]


class Record:
    """The last requests and the counts per surface, route and status (0: the connection was cut)."""

    __slots__ = ("_bytes", "_entries", "counts")

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque()
        self._bytes = 0
        self.counts: Counter[tuple[str, str, int]] = Counter()

    def add(self, entry: Entry) -> None:
        """Keep one request: (time, surface, method, path, query, headers, body, status)."""
        self._entries.append(entry)
        self._bytes += len(entry[6])
        while len(self._entries) > MAX_REQUESTS or self._bytes > MAX_BYTES:
            self._bytes -= len(self._entries.popleft()[6])

    def clear_requests(self) -> None:
        """Forget the requests; counts stay."""
        self._entries.clear()
        self._bytes = 0

    def requests(self, surface: str | None = None) -> list[dict[str, Any]]:
        """Return what is kept, oldest first, credentials as fingerprints."""
        return [
            {
                "time": at,
                "surface": where,
                "method": method,
                "path": path,
                "query": query,
                "headers": shown_headers(headers),
                "body_base64": base64.b64encode(body).decode(),
                "status": status,
            }
            for at, where, method, path, query, headers, body, status in self._entries
            if surface in (None, where)
        ]

    def counted(self) -> list[dict[str, Any]]:
        """Return the counts as a list, most frequent first."""
        return [
            {"surface": surface, "route": route, "status": status, "count": count}
            for (surface, route, status), count in self.counts.most_common()
        ]
