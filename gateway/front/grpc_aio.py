"""The front over grpc.aio: endpoints as the four handler shapes that grpc.aio calls.

This is the only module that knows grpc.aio's calling conventions. `dispatch.py` runs the calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Any

import grpc

from gateway.actions.shared.call import Call, Peer
from gateway.errors import RateLimited
from gateway.front.dispatch import (
    ANSWER_MARGIN_S,
    NO_DEADLINE_S,
    UNKNOWN_METHOD,
    UNNAMED,
    Dispatch,
    deadline_passed,
    request_id_of,
)
from gateway.front.endpoint import Endpoint
from gateway.interceptors.chain import Chain
from gateway.resilience.clock import Clock

_LONG_S = 24 * 3600.0
"""Nothing waits for the end of a call that may take longer."""


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

        Args: `reads_certificates`: whether the listener requests client certificates; if not, every client is `peer`.
        Asking grpc for an address costs a tenth of a short call.
        """
        self._dispatch = Dispatch(chain, clock, on_unexpected)
        self._clock = clock
        self._reads_certificates = reads_certificates
        self._peer = peer
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
        match endpoint.client_streaming, endpoint.server_streaming:
            case False, False:
                return grpc.unary_unary_rpc_method_handler(self._unary(endpoint))
            case False, True:
                return grpc.unary_stream_rpc_method_handler(self._streaming(endpoint))
            case True, True:
                return grpc.stream_stream_rpc_method_handler(self._streaming(endpoint))
            case _:
                return grpc.stream_unary_rpc_method_handler(self._unary(endpoint))

    def _unary(self, endpoint: Endpoint) -> Callable[[Any, Any], Awaitable[Any]]:
        async def behaviour(incoming: bytes, context: Any) -> Any:
            call = self._open(endpoint, context)
            cutoff = _Cutoff(call)
            try:
                if endpoint.client_streaming:
                    await context.send_initial_metadata(self._dispatch.process)
                answer = await self._dispatch.unary(endpoint, call, incoming)
            except BaseException as raised:  # noqa: BLE001 - every error leaves through _end
                return await self._end(call, context, await _paced(cutoff.error_of(raised)))
            cutoff.cancel()
            await self._end(call, context, None)
            return answer

        return behaviour

    def _streaming(self, endpoint: Endpoint) -> Callable[[Any, Any], AsyncIterator[bytes]]:
        async def behaviour(incoming: Any, context: Any) -> AsyncIterator[bytes]:
            call = self._open(endpoint, context)
            cutoff = _Cutoff(call)
            try:
                if endpoint.client_streaming:
                    await context.send_initial_metadata(self._dispatch.process)
                async for answer in self._dispatch.streaming(endpoint, call, incoming):
                    yield answer
            except BaseException as raised:  # noqa: BLE001 - every error leaves through _end
                await self._end(call, context, await _paced(cutoff.error_of(raised)))
                return
            cutoff.cancel()
            await self._end(call, context, None)

        return behaviour

    def _open(self, endpoint: Endpoint, context: Any) -> Call:
        metadata = _metadata(context)
        remaining_s = context.time_remaining()
        now = self._clock.monotonic()
        return self._dispatch.open(
            endpoint.path,
            _peer(context) if self._reads_certificates else self._peer,
            metadata,
            request_id_of(metadata),
            now,
            now + (NO_DEADLINE_S if remaining_s is None else remaining_s),
        )

    async def _end(self, call: Call, context: Any, raised: BaseException | None) -> None:
        """End the call: set the trailing metadata of one that was answered, abort any other."""
        ending = self._dispatch.end(call, raised)
        if ending is None:
            assert raised is not None
            raise raised  # cancelled, or the caller left between two messages of a stream
        if ending.code == 0:
            context.set_trailing_metadata(tuple(ending.trailing))
        else:
            await context.abort(_CODES[ending.code], ending.message, tuple(ending.trailing))


class _Cutoff:
    """Cancels the task of a call that is still at work shortly before its caller's deadline.

    At the deadline itself grpc ends the call, and tells the caller no reason.
    """

    __slots__ = ("_has_passed", "_task", "_timer")

    def __init__(self, call: Call) -> None:
        self._has_passed = False
        self._timer: asyncio.TimerHandle | None = None
        left_s = call.deadline.at - ANSWER_MARGIN_S - call.arrived_at
        if left_s < _LONG_S:
            loop = asyncio.get_running_loop()
            self._task = asyncio.current_task(loop)
            self._timer = loop.call_later(left_s, self._pass)

    def _pass(self) -> None:
        self._has_passed = True
        if self._task is not None:
            self._task.cancel()

    def cancel(self) -> None:
        """The handler has ended."""
        if self._timer is not None:
            self._timer.cancel()

    def error_of(self, raised: BaseException) -> BaseException:
        """Return the error that the call ends with, now that its handler has ended with `raised`."""
        self.cancel()
        if self._has_passed and isinstance(raised, asyncio.CancelledError):
            if self._task is not None:
                self._task.uncancel()
            return deadline_passed()
        return raised


async def _paced(error: BaseException) -> BaseException:
    """Return the error that ends the call, once it may be sent."""
    if isinstance(error, RateLimited) and error.pace_s > 0:
        try:
            await asyncio.sleep(error.pace_s)
        except asyncio.CancelledError as left:
            return left
    return error


async def _refuse_unknown(_incoming: Any, context: Any) -> None:
    """Answer a method that is not served: no row of the policy and no label knows it, so no chain is entered."""
    trailing = (("x-request-id", request_id_of(_metadata(context))),)
    await context.abort(grpc.StatusCode.UNIMPLEMENTED, UNKNOWN_METHOD, trailing)


_NOT_SERVED: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(_refuse_unknown)
_CODES = {code.value[0]: code for code in grpc.StatusCode}


def _metadata(context: Any) -> dict[str, str]:
    return {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}


def _peer(context: Any) -> Peer:
    address = context.peer()
    auth = context.auth_context()
    if not auth or auth.get("transport_security_type") not in ([b"ssl"], [b"tls"]):
        return Peer(address=address)
    # grpc tells a SPIFFE id only where it is the certificate's one URI, as its specification wants it.
    spiffe = [name.decode("utf-8", "replace") for name in auth.get("peer_spiffe_id", ())]
    dns = [name.decode("utf-8", "replace").lower() for name in auth.get("peer_dns", ())]
    return Peer(address=address, names=(*spiffe, *(name for name in dns if "*" not in name)))
