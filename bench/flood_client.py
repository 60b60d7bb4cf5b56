"""A caller that sends too many calls: it keeps a fixed number of calls in flight over its own socket.

At its end, it prints the number of calls by status and reason as JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections import Counter
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2

from bench.chain_server import METHOD
from gateway.v1 import tokens_pb2


async def flood(target: str, at_once: int, connections: int, seconds: float) -> Counter[str]:
    """Keep `at_once` calls in flight and count their results."""
    request = tokens_pb2.MintLaunchJWTRequest(visitor=tokens_pb2.VisitorSession()).SerializeToString()
    counts: Counter[str] = Counter()
    until = time.monotonic() + seconds

    async def one(call: Any) -> None:
        while time.monotonic() < until:
            try:
                await call(request, timeout=30)
            except grpc.aio.AioRpcError as error:
                counts[f"{error.code().name} {_reason(error)}"] += 1
            else:
                counts["OK"] += 1

    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(target, options=options) for _ in range(connections)]
    methods: list[Any] = [channel.unary_unary(METHOD) for channel in channels]
    await asyncio.gather(*(one(methods[number % connections]) for number in range(at_once)))
    for channel in channels:
        await channel.close()
    return counts


def _reason(error: grpc.aio.AioRpcError) -> str:
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            info = error_details_pb2.ErrorInfo()
            for detail in status_pb2.Status.FromString(value).details:
                if detail.Unpack(info):
                    return str(info.reason)
    return ""


def main() -> None:
    """Read the flags and run."""
    parser = argparse.ArgumentParser(prog="python -m bench.flood_client", description=__doc__)
    parser.add_argument("--target", required=True)
    parser.add_argument("--at-once", type=int, default=200)
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=3.0)
    options = parser.parse_args()
    counts = asyncio.run(flood(options.target, options.at_once, options.connections, options.seconds))
    sys.stdout.write(json.dumps(counts) + "\n")


if __name__ == "__main__":
    main()
