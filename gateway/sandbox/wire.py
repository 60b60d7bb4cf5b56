"""What comes in and what goes out: one call, one reply, the header that every answer carries. Knows no surface."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import parse_qs, unquote

import orjson
from multidict import CIMultiDictProxy

if TYPE_CHECKING:
    from aiohttp import web

MARK = ("X-Phoenix-Sandbox", "true")


@dataclass(slots=True)
class Call:
    """One request as it was sent: `path` raw (percent-encoded, without query), `body` the exact bytes."""

    method: str
    path: str
    query: str
    headers: CIMultiDictProxy[str]
    body: bytes

    def header(self, name: str) -> str | None:
        """Return the header's value; None when it is absent, or repeated and thus no one value."""
        values = self.headers.getall(name, ())
        return values[0] if len(values) == 1 else None

    def parameters(self) -> dict[str, str]:
        """Return the query parameters, the last of a repeated one."""
        if not self.query:
            return {}
        return {name: values[-1] for name, values in parse_qs(self.query, keep_blank_values=True).items()}


@dataclass(slots=True)
class Reply:
    """One answer; `route` is the name under which it is counted."""

    status: int
    body: bytes
    route: str
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


Act = Callable[[Call], Reply | Awaitable[Reply]]


class LiveSurface(Protocol):
    """What takes WebSocket handshakes."""

    def refuse(self, call: Call) -> Reply | None:
        """Return why a handshake is refused, None when it is not."""
        ...

    async def serve(self, call: Call, request: web.BaseRequest) -> web.StreamResponse:
        """Serve one that was not refused, until its connection ends."""
        ...


@dataclass(slots=True, kw_only=True)
class Surface:
    """One of Phoenix's hosts: what it does with a call.

    `on_arrival` runs before any fault, with the call's path. `live` takes WebSocket handshakes. `recorded` is False for
    the control listener alone.
    """

    name: str
    act: Act
    on_arrival: Callable[[str, str], None] | None = None
    live: LiveSurface | None = None
    recorded: bool = True


class BadPath(ValueError):
    """A path that is no list of encoded segments."""


def json_reply(status: int, value: object, route: str, headers: tuple[tuple[str, str], ...] = ()) -> Reply:
    """Return a JSON answer."""
    return Reply(status, orjson.dumps(value), route, "application/json", headers)


def refusal(status: int, error: str, code: str, route: str, **further: object) -> Reply:
    """Return an error in the form of the vendor's drafts: `error` (text) and `code`."""
    return json_reply(status, {"error": error, "code": code, **further}, route)


def segments_of(path: str) -> list[str]:
    """Split a raw path at "/", then decode each segment once.

    So an encoded "/" or ".." stays within its id. Raises BadPath for empty or dot segments as sent, which other
    servers would collapse, and for escapes that are not UTF-8 (Assumption: Phoenix refuses them too).
    """
    if not path.startswith("/"):
        raise BadPath("no leading slash")
    segments = path[1:].split("/")
    if any(segment in ("", ".", "..") for segment in segments):
        raise BadPath("empty or dot segment")
    try:
        return [unquote(segment, errors="strict") for segment in segments]
    except UnicodeDecodeError:
        raise BadPath("not UTF-8") from None


def json_object(body: bytes) -> dict[str, Any] | None:
    """Return the JSON object in a body, None when it is none."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def shown_headers(raw: tuple[tuple[bytes, bytes], ...] | Mapping[str, str]) -> list[list[str]]:
    """Return headers for display: credentials become a fingerprint, so that they are seen but not told."""
    import hashlib

    shown: list[list[str]] = []
    pairs = raw.items() if isinstance(raw, Mapping) else [(n.decode("latin-1"), v.decode("latin-1")) for n, v in raw]
    for name, value in pairs:
        if name.lower() in ("x-api-key", "authorization"):
            scheme, _, credential = value.rpartition(" ")
            digest = hashlib.sha256(credential.encode("latin-1")).hexdigest()[:16]
            value = f"{scheme} sha256:{digest}".strip()
        shown.append([name, value])
    return shown
