"""What every client of a gamification gateway does alike: where it sends, how it proves who it is, how a path is built.

One client is one tenant on one gateway. Credentials never come in here: `authorize` gives the headers for one request.
Source: vendor chapter 1.3, 1.4.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gateway.core.canonical import encode_segment
from gateway.core.types import TenantId
from gateway.phoenix.answers import Surface
from gateway.phoenix.exchange import Answer, Request
from gateway.phoenix.tries import Courier, Delivered, Effect
from gateway.resilience.deadline import Deadline

Authorize = Callable[[str, str, bytes], Mapping[str, str]]
"""Method, path as sent (percent-encoded, without query) and body to the headers that authenticate one request.

Called anew for every try, so that a timestamp is never an old one. It raises KeyUnknown where the key is missing.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class GamificationClient:
    """One tenant's way to one gateway."""

    courier: Courier
    base_url: str
    """`https://host[:port]`, nothing behind it."""
    tenant_id: TenantId
    surface: Surface
    authorize: Authorize

    async def read(
        self,
        raw_path: str,
        deadline: Deadline,
        *,
        query: tuple[tuple[str, str], ...] = (),
        welcome: frozenset[int] = frozenset(),
    ) -> Answer:
        """GET and return the 2xx, or an answer with a status that is `welcome`; tried again as reads may be."""

        def prepare() -> Request:
            return Request(
                method="GET",
                url_base=self.base_url,
                raw_path=raw_path,
                query=query,
                headers={"accept": "application/json", **self.authorize("GET", raw_path, b"")},
            )

        delivered = await self.courier.deliver(
            prepare, effect=Effect.NONE, surface=self.surface, deadline=deadline, welcome=welcome
        )
        return delivered.answer

    async def post(
        self,
        raw_path: str,
        body: bytes,
        deadline: Deadline,
        *,
        effect: Effect,
        welcome: frozenset[int] = frozenset(),
    ) -> Delivered:
        """POST a JSON body; the bytes signed are the bytes sent, in every try the same."""

        def prepare() -> Request:
            return Request(
                method="POST",
                url_base=self.base_url,
                raw_path=raw_path,
                headers={
                    "accept": "application/json",
                    "content-type": "application/json",
                    **self.authorize("POST", raw_path, body),
                },
                body=body,
            )

        return await self.courier.deliver(
            prepare,
            effect=effect,
            surface=self.surface,
            deadline=deadline,
            welcome=welcome,
        )


def path(*segments: str) -> str:
    """A path of these segments, each percent-encoded so that none can become structure."""
    return "/" + "/".join(encode_segment(segment) for segment in segments)
