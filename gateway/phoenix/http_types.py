"""One HTTP exchange with Phoenix as data: the request, the answer, and the ways in which no answer comes.

The failures differ in what money depends on: whether Phoenix may have read the request. Only `transport.py` uses the
HTTP client.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import quote

from gateway.resilience.deadline import Deadline

DEFAULT_MAX_ANSWER_BYTES = 8 * 1024 * 1024
"""Larger than any page that Phoenix is known to send; fifty of them at once fit into memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is sent, byte for byte.

    `url_base` is scheme and host, with a port unless it is the scheme's default, without a path. `raw_path` starts with
    "/" and is sent exactly as given, because it was signed. The transport encodes `query`.
    """

    method: str
    url_base: str
    raw_path: str
    query: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Holds credentials, so it is never shown."""
    body: bytes = field(default=b"", repr=False)
    status_suffices: bool = False
    """A 2xx status says everything: the rest of its answer may be missing, broken or unreadable."""

    @property
    def raw_query(self) -> str:
        """The query as sent, without "?"; everything but unreserved characters percent-encoded as UTF-8."""
        return "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in self.query)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer: the final status, the few useful headers (names in lower case), and the body.

    It is whole, unless `Request.status_suffices`: then headers and body of a 2xx may be empty. `keys_changed`: it is a
    401, and one of our keys has changed since the request was signed.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = field(default=b"", repr=False)
    keys_changed: bool = False


class ExchangeFailed(Exception):
    """No whole answer came. The message names the kind of failure, never an address, a header or a body."""

    errno: str = ""
    """The name of the system's error, such as ECONNREFUSED or EAI_NONAME; empty if there is none."""

    @property
    def trouble(self) -> str:
        """The message, which may be logged."""
        return str(self)


class NotSent(ExchangeFailed):
    """Certainly nothing of the request left: the name, the connection or TLS failed."""


class OwnLimitReached(NotSent):
    """Nothing was sent, because this process or machine has no file descriptor left. Phoenix is not to blame."""


class TimedOut(ExchangeFailed):
    """The deadline passed. `sent` is False only if certainly nothing left."""

    def __init__(self, message: str, *, sent: bool) -> None:
        """Store whether something may have left."""
        self.sent = sent
        super().__init__(message)


class AnswerLost(ExchangeFailed):
    """Phoenix may have read the request, or part of it; no whole answer came back.

    `was_stale`: the server closed a kept connection, and sent nothing of an answer. That is no sign of trouble there.
    """

    def __init__(self, message: str, *, was_stale: bool = False) -> None:
        """Store how the connection ended."""
        self.was_stale = was_stale
        super().__init__(message)


class AnswerGarbled(AnswerLost):
    """What came back is not a usable answer: not HTTP, too large, or compressed in an unknown way."""


class AnswerOversized(AnswerGarbled):
    """The answer is larger than the sender takes. Asking for the same again brings the same."""


class Sender(Protocol):
    """Sends one request to Phoenix, once."""

    async def send(
        self, request: Request, deadline: Deadline, max_answer_bytes: int = DEFAULT_MAX_ANSWER_BYTES
    ) -> Answer:
        """Send exactly once and return the whole answer, whatever its status.

        Raises: NotSent, TimedOut, AnswerLost, AnswerGarbled.
        """
        ...
