"""Requests and replies of all surfaces, and the header that marks every reply as the sandbox's."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import parse_qs, unquote

import orjson
from multidict import CIMultiDictProxy

if TYPE_CHECKING:
    from aiohttp import web

SANDBOX_HEADER = ("X-Phoenix-Sandbox", "true")


@dataclass(slots=True)
class Call:
    """One request as it was sent. `path` is raw: percent-encoded, without the query. `body` is the exact bytes."""

    method: str
    path: str
    query: str
    headers: CIMultiDictProxy[str]
    body: bytes

    def header(self, name: str) -> str | None:
        """Return the header's value, or None if the header is absent or repeated."""
        values = self.headers.getall(name, ())
        return values[0] if len(values) == 1 else None

    def parameters(self) -> dict[str, str]:
        """Return the query parameters. If one is repeated, the last value counts."""
        if not self.query:
            return {}
        return {name: values[-1] for name, values in parse_qs(self.query, keep_blank_values=True).items()}


@dataclass(slots=True)
class Reply:
    """One answer. `route` is the name for the counts."""

    status: int
    body: bytes
    route: str
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


Handler = Callable[[Call], Reply | Awaitable[Reply]]


class WebSocketSurface(Protocol):
    """A surface that accepts WebSocket handshakes."""

    def check_handshake(self, call: Call) -> Reply | None:
        """Return the refusal of a handshake, or None to accept it."""
        ...

    async def serve(self, call: Call, request: web.BaseRequest) -> web.StreamResponse:
        """Serve an accepted handshake until its connection ends."""
        ...


@dataclass(slots=True, kw_only=True)
class Surface:
    """One host of Phoenix, or the control listener.

    `on_arrival` runs before any fault, with method and path. `live` serves WebSocket handshakes. `recorded` is False
    only for the control listener.
    """

    name: str
    handle: Handler
    on_arrival: Callable[[str, str], None] | None = None
    live: WebSocketSurface | None = None
    recorded: bool = True


class BadPath(ValueError):
    """The path is not a valid list of percent-encoded segments."""


def json_reply(status: int, value: object, route: str) -> Reply:
    """Return a JSON answer."""
    return Reply(status, orjson.dumps(value), route)


def error_reply(status: int, error: str, code: str, route: str, **further: object) -> Reply:
    """Return an error in the form that the vendor's documentation shows: `error` (text) and `code`."""
    return json_reply(status, {"error": error, "code": code, **further}, route)


def split_path(path: str) -> list[str]:
    """Split a raw path at "/", then decode each segment once, so that an encoded "/" or ".." stays within its segment.

    Raises BadPath for empty or dot segments, which some servers collapse, and for escapes that are not UTF-8
    (Assumption: Phoenix refuses both).
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
    """Return the JSON object in a body, or None if the body is not a JSON object."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def redact_headers(raw: tuple[tuple[bytes, bytes], ...]) -> list[list[str]]:
    """Return headers for display. Credentials are replaced by a fingerprint."""
    shown: list[list[str]] = []
    for raw_name, raw_value in raw:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        if name.lower() in ("x-api-key", "authorization"):
            scheme, _, credential = value.rpartition(" ")
            digest = hashlib.sha256(credential.encode("latin-1")).hexdigest()[:16]
            value = f"{scheme} sha256:{digest}".strip()
        shown.append([name, value])
    return shown
