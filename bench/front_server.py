"""F, the empty handler on the gateway's HTTP/2 front: what the front costs without a chain and without work.

It parses a `google.protobuf.BytesValue` and returns it, as its comparator `bench/go/echo` does. It prints its port when
it serves.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import sys

from google.protobuf import wrappers_pb2

from bench.empty_server import runner
from gateway.actions.shared.call import Call
from gateway.front.endpoint import Endpoint
from gateway.front.http2.engines import find_engine
from gateway.front.http2.server import Http2Server
from gateway.interceptors.chain import Chain
from gateway.resilience.clock import SystemClock
from gateway.server.process.collector import set_up_collector


async def echo(request: wrappers_pb2.BytesValue, call: Call) -> wrappers_pb2.BytesValue:
    """Return the request."""
    return request


async def serve(path: str) -> None:
    """Serve until the process ends."""
    engine, _ = find_engine()
    if engine is None:
        raise SystemExit("no HTTP/2 engine is installed; install ngh2")
    endpoint = Endpoint(
        path=path, handler=echo, request_class=wrappers_pb2.BytesValue, client_streaming=False, server_streaming=False
    )
    server = Http2Server({path: endpoint}, Chain([]), SystemClock(), lambda call, error: None, engine)
    listening = socket.create_server(("127.0.0.1", 0))
    await server.listen(listening, None)
    set_up_collector()  # as the gateway does after its start
    sys.stdout.write(f"{listening.getsockname()[1]}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


def main() -> None:
    """Read the flags and serve."""
    parser = argparse.ArgumentParser(prog="python -m bench.front_server", description=__doc__)
    parser.add_argument("--path", required=True, help="such as /package.Service/Method")
    runner("uvloop")(serve(parser.parse_args().path))


if __name__ == "__main__":
    main()
