"""Calls the gateway's own methods for a visitor, through the same chain as any caller.

So the policy, limits, kill switches, the log and the audit log hold for the console too, and it can show and do nothing
that its visitor could not show and do by a stub.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import uuid_utils
from google.protobuf.message import Message

from gateway.actions.shared.call import Call, Peer
from gateway.errors import GatewayError
from gateway.front.dispatch import Dispatch
from gateway.front.endpoint import Endpoint
from gateway.resilience.clock import Clock

WITHIN_S = 8.0
"""Deadline of a call. A connection of the admin port lives for 10 s."""
PREFIX = "/phoenix.gateway.v1."

M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """Who looks: the peer, and the metadata that identifies it where no certificate does."""

    peer: Peer
    metadata: Mapping[str, str]


class Refused(Exception):
    """The call failed. The fields are those that any caller is told."""

    def __init__(self, reason: str, message: str, request_id: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.request_id = request_id


class MakeCalls(Protocol):
    """What the pages need of `ConsoleCalls`."""

    async def __call__(self, visitor: Visitor, method: str, request: Message, answer: type[M]) -> M:
        """Return the answer of a method such as `WalletService/GetWalletEvidence`. Raises: Refused."""
        ...

    def stream(
        self, visitor: Visitor, method: str, request: Message, answer: type[M], within_s: float = WITHIN_S
    ) -> AsyncGenerator[M]:
        """Yield the answers of a method that writes a stream. Raises: Refused."""
        ...


class ConsoleCalls:
    """Makes the calls."""

    def __init__(self, endpoints: Mapping[str, Endpoint], dispatch: Dispatch, clock: Clock) -> None:
        """Args: `endpoints`: by path."""
        self._endpoints = endpoints
        self._dispatch = dispatch
        self._clock = clock

    async def __call__(self, visitor: Visitor, method: str, request: Message, answer: type[M]) -> M:
        """Return the answer. Raises: Refused."""
        endpoint, call = self._open(visitor, method, WITHIN_S)
        try:
            data = await self._dispatch.unary(endpoint, call, request.SerializeToString())
        except BaseException as raised:
            self._end(call, raised)
            raise
        self._dispatch.end(call, None)
        return _read(answer, data)

    async def stream(
        self, visitor: Visitor, method: str, request: Message, answer: type[M], within_s: float = WITHIN_S
    ) -> AsyncGenerator[M]:
        """Yield the answers. Raises: Refused."""
        endpoint, call = self._open(visitor, method, within_s)
        try:
            async with aclosing(self._dispatch.streaming(endpoint, call, request.SerializeToString())) as answers:
                async for data in answers:
                    yield _read(answer, data)
        except BaseException as raised:
            self._end(call, raised)
            raise
        self._dispatch.end(call, None)

    def _open(self, visitor: Visitor, method: str, within_s: float) -> tuple[Endpoint, Call]:
        endpoint = self._endpoints[PREFIX + method]
        now = self._clock.monotonic()
        request_id = str(uuid_utils.uuid7())
        return endpoint, self._dispatch.open(
            endpoint.path, visitor.peer, visitor.metadata, request_id, now, now + within_s
        )

    def _end(self, call: Call, raised: BaseException) -> None:
        """End a call that failed. Raises: Refused, with what any caller is told."""
        ending = self._dispatch.end(call, raised)
        if ending is None:
            return
        reason = raised.reason if isinstance(raised, GatewayError) else "INTERNAL"
        raise Refused(reason, ending.message, call.request_id) from None


def _read(answer: type[M], data: bytes) -> M:
    message: Any = answer()
    message.ParseFromString(data)
    found: M = message
    return found
