"""Runs a call, whichever front received it: the chain, the handler, and the status that ends the call.

A front makes a `Call` with `open`, runs it with `unary` or `streaming`, and ends it with `end`. Only `end` turns an
exception into an `Ending`; the caller sees a fixed text in place of an unexpected one. Both fronts use it, so they
answer alike.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from dataclasses import dataclass

import uuid_utils
from google.protobuf.message import DecodeError, Message

from gateway.actions.shared.call import Call, Peer
from gateway.core.answer_size import MAX_ANSWER_BYTES
from gateway.errors import (
    AnswerTooLarge,
    DeadlineTooShort,
    Effect,
    FieldFault,
    GatewayError,
    InternalFault,
    InvalidField,
)
from gateway.front.endpoint import Endpoint
from gateway.interceptors.chain import Chain
from gateway.resilience.clock import Clock
from gateway.resilience.deadline import RETURN_MARGIN_S, Deadline
from gateway.services.status import status_of

NO_DEADLINE_S = 365 * 24 * 3600.0
ANSWER_MARGIN_S = RETURN_MARGIN_S / 2
"""If a handler hangs, the front answers in its place this long before the caller's deadline, so that the caller gets
the reason before it gives up. By then the handler's own deadline has passed."""
UNNAMED = Peer(address="")
"""Every peer of a listener that tells nothing of its clients."""
UNKNOWN_METHOD = "No such method is served here. List them with reflection."
PROCESS_KEY = "x-gateway-process"
"""Initial metadata of a stream that the client writes to: a client that finds another process at the other end knows
that what only the first one remembered is gone."""
_PUSHBACK = "grpc-retry-pushback-ms"
"""Tells clients' own retry policies, whatever codes they name, when to send again; -1: not within this call."""
_READS = ("Get", "List", "BatchGet", "Check", "Watch", "Export", "Mint", "BatchMint", "Sign", "ServerReflection")
"""First words of the methods that change nothing. Any other method counts as one that did what it was asked."""
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")

Metadata = list[tuple[str, str | bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a call ends: a gRPC status code (0 for success), a message and the trailing metadata."""

    code: int
    message: str
    trailing: Metadata


class Dispatch:
    """Runs calls through one chain."""

    def __init__(self, chain: Chain, clock: Clock, on_unexpected: Callable[[Call, BaseException], None]) -> None:
        self.chain = chain
        self._clock = clock
        self._on_unexpected = on_unexpected
        self.process: tuple[tuple[str, str], ...] = ((PROCESS_KEY, str(uuid_utils.uuid7())),)

    def open(
        self, path: str, peer: Peer, metadata: Mapping[str, str], request_id: str, arrived_at: float, deadline_at: float
    ) -> Call:
        """Return the call that has arrived; times are the clock's monotonic ones."""
        return Call(
            method=path,
            peer=peer,
            request_id=request_id,
            deadline=Deadline(at=deadline_at, clock=self._clock),
            arrived_at=arrived_at,
            waits_until=deadline_at,
            metadata=metadata,
        )

    async def unary(
        self, endpoint: Endpoint, call: Call, incoming: bytes | AsyncIterator[bytes], fault: GatewayError | None = None
    ) -> bytes:
        """Return the one answer to one message, or to a stream of them.

        Args: `fault`: what the transport found wrong with the request; raised once it is known who calls.
        Raises: whatever refuses the call or goes wrong.
        """
        chain = self.chain
        waiting = chain.before(call)
        if waiting is not None:
            await waiting
        if fault is not None:
            raise fault
        request = self._request(endpoint, call, incoming)
        waiting = chain.on_start(call)
        if waiting is not None:
            await waiting
        answer = await endpoint.handler(request, call)
        waiting = chain.on_answer(call)
        if waiting is not None:
            await waiting
        return _sized(serialised(answer), call)

    async def streaming(
        self, endpoint: Endpoint, call: Call, incoming: bytes | AsyncIterator[bytes], fault: GatewayError | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Yield the answers of a method that writes a stream, and may read one. Args and raises: as `unary`."""
        chain = self.chain
        waiting = chain.before(call)
        if waiting is not None:
            await waiting
        if fault is not None:
            raise fault
        request = self._request(endpoint, call, incoming)
        waiting = chain.on_start(call)
        if waiting is not None:
            await waiting
        async for answer in endpoint.handler(request, call):
            # An acknowledgement tells what Phoenix did with a message that was let in: it must arrive.
            if not endpoint.client_streaming:
                chain.on_message(call)
            yield _sized(serialised(answer), call)

    def parse(self, endpoint: Endpoint, call: Call, data: bytes) -> Message:
        """Return the request message. Raises: InvalidField, also for what the contract does not allow."""
        request = endpoint.request_class()
        try:
            request.ParseFromString(data)
        except DecodeError:
            fault = FieldFault(
                field="", description=f"the message is not a readable {request.DESCRIPTOR.full_name}; check your stubs"
            )
            raise InvalidField([fault]) from None
        self.chain.on_request(call, request)
        return request

    def _request(
        self, endpoint: Endpoint, call: Call, incoming: bytes | AsyncIterator[bytes]
    ) -> Message | AsyncIterator[Message]:
        if isinstance(incoming, bytes):
            return self.parse(endpoint, call, incoming)
        return self._requests(endpoint, call, incoming)

    async def _requests(self, endpoint: Endpoint, call: Call, incoming: AsyncIterator[bytes]) -> AsyncIterator[Message]:
        async for data in incoming:
            self.chain.on_message(call)
            yield self.parse(endpoint, call, data)

    def end(self, call: Call, raised: BaseException | None) -> Ending | None:
        """Tell the chain that the call has ended, and return how; None for a call that nobody waits for any more.

        The chain learns of it before the status leaves, so that it is recorded when the caller has it. The cause of an
        unexpected exception goes to the log only.
        """
        trailing: Metadata = [("x-request-id", call.request_id)]
        if raised is None:
            self.chain.after(call, None)
            return Ending(code=0, message="", trailing=trailing)
        if not isinstance(
            raised, GatewayError | asyncio.CancelledError | GeneratorExit | KeyboardInterrupt | SystemExit
        ):
            self._on_unexpected(call, raised)
        self.chain.after(call, raised)
        if isinstance(raised, asyncio.CancelledError | GeneratorExit | KeyboardInterrupt | SystemExit):
            return None
        error = raised if isinstance(raised, GatewayError) else InternalFault()
        return ending_of(error, trailing, call.waits_until - self._clock.monotonic())


def ending_of(error: GatewayError, trailing: Metadata, left_s: float = math.inf) -> Ending:
    """Return a refusal as status and trailing metadata.

    Args: `left_s`: until the caller's own deadline. A client's retry policy that is told to wait for longer would keep
    its caller waiting until then, and lose the reason.
    """
    status = status_of(error)
    trailing = [*trailing, ("grpc-status-details-bin", status.SerializeToString())]
    if error.effect is not Effect.NONE or (error.retry_after_s or 0.0) >= left_s:
        trailing.append((_PUSHBACK, "-1"))
    elif error.retry_after_s is not None:
        trailing.append((_PUSHBACK, str(round(error.retry_after_s * 1000))))
    return Ending(code=status.code, message=status.message, trailing=trailing)


def deadline_passed() -> DeadlineTooShort:
    """Return the error of a call whose handler was still at work when the caller's time was over."""
    return DeadlineTooShort("The deadline passed before the call was answered. Set a longer one.", effect=Effect.MAYBE)


def request_id_of(metadata: Mapping[str, str]) -> str:
    """Return the caller's own id, if it can stand in logs and headers; else a new one."""
    given = metadata.get("x-request-id")
    return given if given is not None and _REQUEST_ID.fullmatch(given) else str(uuid_utils.uuid7())


def _sized(answer: bytes, call: Call) -> bytes:
    """Return an answer that clients accept. Raises: AnswerTooLarge, which says that the work was done."""
    if len(answer) <= MAX_ANSWER_BYTES:
        return answer
    raise AnswerTooLarge(effect=Effect.NONE if changes_nothing(call.method) else Effect.DONE)


def changes_nothing(method: str) -> bool:
    """Tell whether a method only reads, or mints a credential. Args: `method`: its full path."""
    return method.rpartition("/")[2].startswith(_READS)


def serialised(answer: Message | bytes) -> bytes:
    """Return an answer's bytes; handlers may answer what is serialised already, such as a cached message."""
    return answer if isinstance(answer, bytes) else answer.SerializeToString()
