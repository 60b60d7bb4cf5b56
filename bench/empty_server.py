"""Comparator E: an empty grpc.aio handler, the upper limit of a Python gRPC server on this core.

It accepts any method, parses nothing and answers with a given number of zero bytes. It runs on asyncio's event loop (E)
or on uvloop (`--loop uvloop`, E_uvloop). It prints its port when it serves.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import grpc


class Empty(grpc.GenericRpcHandler):
    """Gives every method the same answer."""

    def __init__(self, answer: bytes) -> None:
        async def behaviour(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
            return answer

        self._handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(behaviour)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        """Return the one handler."""
        return self._handler


async def serve(answer_bytes: int, port: int) -> None:
    """Serve until the process ends."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Empty(bytes(answer_bytes)),))
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    sys.stdout.write(f"{bound}\n")
    sys.stdout.flush()
    await server.wait_for_termination()


def runner(loop: str) -> Callable[[Coroutine[Any, Any, None]], None]:
    """Return the function that runs a coroutine on this event loop."""
    if loop == "uvloop":
        import uvloop

        return uvloop.run
    return asyncio.run


def main() -> None:
    """Read the flags and serve."""
    parser = argparse.ArgumentParser(prog="python -m bench.empty_server", description=__doc__)
    parser.add_argument("--answer-bytes", type=int, default=0)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="asyncio")
    options = parser.parse_args()
    runner(options.loop)(serve(options.answer_bytes, options.port))


if __name__ == "__main__":
    main()
