"""Sends a request to a path that the caller chose, at one host, authenticated in one way.

The actions decide which paths a caller may use. This file decides about retries: GET, PUT and DELETE are idempotent;
POST and PATCH are sent again only if certainly nothing left.
"""

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass

from gateway.errors import SigningKeyUnavailable
from gateway.phoenix.answers import Surface
from gateway.phoenix.auth.authorize import AuthorizeAnywhere, Headers
from gateway.phoenix.http_types import Answer, Request
from gateway.phoenix.retry import Idempotency, RetryingSender
from gateway.resilience.deadline import Deadline

MAX_ANSWER_BYTES = 1024 * 1024
"""A larger answer is not read to its end: its message would exceed the default limit of a gRPC client."""

IDEMPOTENCY: Mapping[str, Idempotency] = {
    "GET": Idempotency.NO_SIDE_EFFECTS,
    "PUT": Idempotency.IDEMPOTENT,
    "DELETE": Idempotency.IDEMPOTENT,
    "POST": Idempotency.NOT_IDEMPOTENT,
    "PATCH": Idempotency.NOT_IDEMPOTENT,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PathClient:
    """The client for one host."""

    retrying: RetryingSender
    base_url: str
    """`https://host[:port]` from the configuration. No request changes it."""
    surface: Surface
    authorize: AuthorizeAnywhere

    async def call(
        self,
        method: str,
        raw_path: str,
        deadline: Deadline,
        *,
        query: tuple[tuple[str, str], ...] = (),
        body: bytes | None = None,
        idempotency_key: str = "",
    ) -> Answer:
        """Return Phoenix's 2xx; the bytes that are signed are sent. Raises: UpstreamFault, DeadlineTooShort."""
        content = body if body is not None else b""

        def with_headers(authorized: Headers) -> Request:
            headers = {"accept": "application/json", **authorized}
            if body is not None:
                headers["content-type"] = "application/json"
            if idempotency_key:
                headers["idempotency-key"] = idempotency_key
            return Request(
                method=method, url_base=self.base_url, raw_path=raw_path, query=query, headers=headers, body=content
            )

        async def when_signed(later: Awaitable[Headers]) -> Request:
            try:
                async with asyncio.timeout(max(0.0, deadline.remaining())):
                    return with_headers(await later)
            except TimeoutError:
                raise SigningKeyUnavailable from None

        def prepare() -> Request | Awaitable[Request]:
            authorized = self.authorize(method, raw_path, content)
            return when_signed(authorized) if isinstance(authorized, Awaitable) else with_headers(authorized)

        delivered = await self.retrying.deliver(
            prepare, idempotency=IDEMPOTENCY[method], surface=self.surface, deadline=deadline
        )
        return delivered.answer
