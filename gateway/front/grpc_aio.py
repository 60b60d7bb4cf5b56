"""The front: it runs each call through the chain and its handler, in each of grpc.aio's four shapes.

Requests arrive as bytes and are parsed here, so that the gateway itself answers an unreadable message. Each error
becomes a status here, once. An unexpected exception leaves as a fixed text: grpc.aio would send its own message.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
import uuid_utils
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from gateway.actions.shared.call import Call, Peer
from gateway.errors import Effect, FieldFault, GatewayError, InternalFault, InvalidField
from gateway.interceptors.chain import Chain
from gateway.resilience.clock import Clock
from gateway.resilience.deadline import Deadline
from gateway.services.status import status_of

NO_DEADLINE_S = 365 * 24 * 3600.0
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")

UNNAMED = Peer(address="")
"""Every peer of a listener without client certificates. Asking grpc for the address takes a tenth of a short call."""

PROCESS_KEY = "x-gateway-process"
"""Initial metadata of a client stream. A client that sees another value after a reconnect knows that it reached another
process, which does not remember what the first one did."""

Handler = Callable[[Any, Call], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One method: its full path such as `/package.Service/Method`, its handler, its request class and shape."""

    path: str
    handler: Handler
    request_class: type[Message]
    client_streaming: bool
    server_streaming: bool


def endpoints_of(servicer: object, methods: Iterable[MethodDescriptor], prefix: str) -> list[Endpoint]:
    """Pair each described method with the servicer's coroutine or generator of the same name.

    Raises: AttributeError when the servicer lacks one: the start fails rather than answering UNIMPLEMENTED.
    """
    return [
        Endpoint(
            path=f"/{prefix}/{method.name}",
            handler=getattr(servicer, method.name),
            request_class=GetMessageClass(method.input_type),
            client_streaming=method.client_streaming,
            server_streaming=method.server_streaming,
        )
        for method in methods
    ]


class Front(grpc.GenericRpcHandler):
    """Serves the endpoints through the chain."""

    def __init__(
        self,
        endpoints: Iterable[Endpoint],
        chain: Chain,
        clock: Clock,
        on_unexpected: Callable[[Call, BaseException], None],
        *,
        reads_certificates: bool = False,
        peer: Peer = UNNAMED,
    ) -> None:
        """Take what is served.

        Args: `reads_certificates`: whether the listener asks clients for one; else every client is `peer`.
        """
        self._chain = chain
        self._clock = clock
        self._on_unexpected = on_unexpected
        self._reads_certificates = reads_certificates
        self._peer = peer
        self._process = ((PROCESS_KEY, str(uuid_utils.uuid7())),)
        self._handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]] = {
            endpoint.path: self._handler(endpoint) for endpoint in endpoints
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Return the handler of a method, or the one of all methods that are not served."""
        handler = self._handlers.get(handler_call_details.method)
        return _NOT_SERVED if handler is None else handler

    @property
    def paths(self) -> frozenset[str]:
        """The paths of all methods that are served."""
        return frozenset(self._handlers)

    def _handler(self, endpoint: Endpoint) -> grpc.RpcMethodHandler[Any, Any]:
        if endpoint.server_streaming:
            behaviour: Any = self._server_streaming(endpoint)
            make = (
                grpc.stream_stream_rpc_method_handler
                if endpoint.client_streaming
                else grpc.unary_stream_rpc_method_handler
            )
        else:
            behaviour = self._single_answer(endpoint)
            make = (
                grpc.stream_unary_rpc_method_handler
                if endpoint.client_streaming
                else grpc.unary_unary_rpc_method_handler
            )
        return make(behaviour)

    def _single_answer(self, endpoint: Endpoint) -> Callable[[Any, Any], Awaitable[Any]]:
        async def behaviour(incoming: Any, context: Any) -> Any:
            call = self._open(endpoint, context)
            try:
                waiting = self._chain.before(call)
                if waiting is not None:
                    await waiting
                request = self._request(endpoint, call, incoming)
                waiting = self._chain.on_start(call)
                if waiting is not None:
                    await waiting
                answer = await endpoint.handler(request, call)
                waiting = self._chain.on_answer(call)
                if waiting is not None:
                    await waiting
                data = _serialised(answer)
            except BaseException as raised:  # noqa: BLE001 - every error leaves through _fail
                return await self._fail(call, context, raised)
            self._chain.after(call, None)
            context.set_trailing_metadata(_trailing(call))
            return data

        return behaviour

    def _server_streaming(self, endpoint: Endpoint) -> Callable[[Any, Any], AsyncIterator[bytes]]:
        async def behaviour(incoming: Any, context: Any) -> AsyncIterator[bytes]:
            call = self._open(endpoint, context)
            try:
                waiting = self._chain.before(call)
                if waiting is not None:
                    await waiting
                if endpoint.client_streaming:
                    await context.send_initial_metadata(self._process)
                request = self._request(endpoint, call, incoming)
                waiting = self._chain.on_start(call)
                if waiting is not None:
                    await waiting
                async for answer in endpoint.handler(request, call):
                    # An acknowledgement says what Phoenix did with a message that was accepted. It must arrive.
                    if not endpoint.client_streaming:
                        self._chain.on_message(call)
                    yield _serialised(answer)
            except BaseException as raised:  # noqa: BLE001 - every error leaves through _fail
                await self._fail(call, context, raised)
                return
            self._chain.after(call, None)
            context.set_trailing_metadata(_trailing(call))

        return behaviour

    def _request(self, endpoint: Endpoint, call: Call, incoming: Any) -> Any:
        if not endpoint.client_streaming:
            return self._parse(endpoint, call, incoming)
        return self._requests(endpoint, call, incoming)

    async def _requests(self, endpoint: Endpoint, call: Call, incoming: AsyncIterator[bytes]) -> AsyncIterator[Message]:
        async for data in incoming:
            self._chain.on_message(call)
            yield self._parse(endpoint, call, data)

    def _parse(self, endpoint: Endpoint, call: Call, data: bytes) -> Message:
        request = endpoint.request_class()
        try:
            request.ParseFromString(data)
        except DecodeError:
            fault = FieldFault(
                field="", description=f"the message is not a readable {request.DESCRIPTOR.full_name}; check your stubs"
            )
            raise InvalidField([fault]) from None
        self._chain.on_request(call, request)
        return request

    def _open(self, endpoint: Endpoint, context: Any) -> Call:
        metadata = _metadata(context)
        remaining_s = context.time_remaining()
        now = self._clock.monotonic()
        return Call(
            method=endpoint.path,
            peer=_peer(context) if self._reads_certificates else self._peer,
            request_id=_request_id(metadata),
            deadline=Deadline(at=now + (NO_DEADLINE_S if remaining_s is None else remaining_s), clock=self._clock),
            arrived_at=now,
            metadata=metadata,
        )

    async def _fail(self, call: Call, context: Any, raised: BaseException) -> Any:
        """End the call with an error. The chain learns of it first, so that it is recorded when the caller has it."""
        is_ours = isinstance(raised, GatewayError)
        # GeneratorExit: the caller left between two messages of a stream.
        is_cancelled = isinstance(raised, asyncio.CancelledError | GeneratorExit | KeyboardInterrupt | SystemExit)
        if not is_ours and not is_cancelled:
            self._on_unexpected(call, raised)
        self._chain.after(call, raised)
        if is_cancelled:
            raise raised
        error = raised if isinstance(raised, GatewayError) else InternalFault()
        status = status_of(error)
        trailing = (*_trailing(call), ("grpc-status-details-bin", status.SerializeToString()))
        if error.effect is not Effect.NONE:
            trailing = (*trailing, _NEVER_RETRY)
        await context.abort(_CODES[status.code], status.message, trailing)


async def _refuse_unknown(_incoming: Any, context: Any) -> None:
    """Answer a method that is not served. It has no policy row and no metric label, so the chain does not see it."""
    await context.abort(
        grpc.StatusCode.UNIMPLEMENTED,
        "No such method is served here. List them with reflection.",
        (("x-request-id", _request_id(_metadata(context))),),
    )


_NOT_SERVED: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(_refuse_unknown)

_NEVER_RETRY = ("grpc-retry-pushback-ms", "-1")
"""Tells clients' own retry policies, whatever codes they name, that the request must not be sent again."""
_CODES = {code.value[0]: code for code in grpc.StatusCode}


def _metadata(context: Any) -> dict[str, str]:
    return {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}


def _request_id(metadata: Mapping[str, str]) -> str:
    """Return the caller's own id if it is safe in logs and headers; else a new one."""
    given = metadata.get("x-request-id")
    return given if given is not None and _REQUEST_ID.fullmatch(given) else str(uuid_utils.uuid7())


def _trailing(call: Call) -> tuple[tuple[str, str], ...]:
    return (("x-request-id", call.request_id),)


def _serialised(answer: Message | bytes) -> bytes:
    """Handlers may answer bytes that are a serialised message already, such as a cached one."""
    return answer if isinstance(answer, bytes) else answer.SerializeToString()


def _peer(context: Any) -> Peer:
    address = context.peer()
    auth = context.auth_context()
    if not auth or auth.get("transport_security_type") not in ([b"ssl"], [b"tls"]):
        return Peer(address=address)
    # grpc reports a SPIFFE id only if it is the certificate's only URI, as the SPIFFE specification requires.
    spiffe = [name.decode("utf-8", "replace") for name in auth.get("peer_spiffe_id", ())]
    dns = [name.decode("utf-8", "replace").lower() for name in auth.get("peer_dns", ())]
    return Peer(address=address, names=(*spiffe, *(name for name in dns if "*" not in name)))
