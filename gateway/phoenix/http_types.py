"""One HTTP exchange with Phoenix as data: what is sent, what came back, and how little may be known when nothing did.

The failures differ in the one thing that money depends on: whether Phoenix may have read the request. Nothing here
knows the HTTP client; `transport.py` does.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import quote

from gateway.resilience.deadline import Deadline

DEFAULT_MAX_ANSWER_BYTES = 8 * 1024 * 1024
"""Larger than any page that Phoenix is known to send, small enough that fifty at once fit in memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is sent, byte for byte.

    `url_base` is scheme and host, with a port where it is not the scheme's own, without a path. `raw_path` begins with
    "/" and goes out exactly as it stands here, since it is what was signed. `query` is encoded by the transport.
    """

    method: str
    url_base: str
    raw_path: str
    query: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Holds credentials: never shown."""
    body: bytes = field(default=b"", repr=False)

    @property
    def raw_query(self) -> str:
        """The query as sent, without "?"; everything but unreserved characters percent-encoded as UTF-8."""
        return "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in self.query)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A whole answer: the final status, the few headers that are of use (names in lower case), and the body."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = field(default=b"", repr=False)


class ExchangeFailed(Exception):
    """No whole answer came. Messages name the kind of trouble only, never an address, a header or a body."""


class NotSent(ExchangeFailed):
    """Certainly nothing of the request left: no name, no connection, no TLS."""


class TimedOut(ExchangeFailed):
    """The deadline passed. `sent` is False only if certainly nothing left."""

    def __init__(self, message: str, *, sent: bool) -> None:
        """Keep whether something may have left."""
        self.sent = sent
        super().__init__(message)


class AnswerLost(ExchangeFailed):
    """The request, or a part of it, may have been read; no whole answer came back."""


class AnswerGarbled(AnswerLost):
    """Something came back that cannot be taken for an answer: no HTTP, too large, or compressed unasked."""


class Sender(Protocol):
    """Carries one request to Phoenix, once."""

    async def send(
        self, request: Request, deadline: Deadline, max_answer_bytes: int = DEFAULT_MAX_ANSWER_BYTES
    ) -> Answer:
        """Send exactly once and return the whole answer, whatever its status.

        Raises: NotSent, TimedOut, AnswerLost, AnswerGarbled.
        """
        ...
