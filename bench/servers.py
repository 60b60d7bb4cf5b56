"""Starts the measured servers: the subject and its comparators, each in its own process on the server's core."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.request import ProxyHandler, build_opener

from bench.cases import Against
from bench.credentials import Credentials
from bench.go_programs import go_program
from bench.processes import Process, Workspace, is_serving, printed_port, wait_for

SUBJECTS = ("gateway", "baseline")


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A running server. `started_in_s` is the time from its start until it served. `admin`: where /readyz is."""

    name: str
    process: Process
    port: int
    started_in_s: float
    admin: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """The setup that all servers of one case share. A core of None means no pinning. `front` is the gateway's."""

    workspace: Workspace
    credentials: Credentials
    server_core: int | None
    load_core: int | None
    front: str = "http2"


def start_upstream(setup: Setup, delay_ms: float = 0.0) -> Server:
    """Start the minimal Phoenix on the load's core. It answers events so late."""
    environ = {**setup.credentials.upstream_environ(), "UPSTREAM_DELAY_MS": str(delay_ms)}
    process, began = setup.workspace.start("upstream", ["-m", "bench.upstream"], environ, setup.load_core)
    port = printed_port(process, "the upstream")
    return Server(name="upstream", process=process, port=port, started_in_s=time.perf_counter() - began)


def start_live_upstream(setup: Setup) -> Server:
    """Start the Phoenix with a changing board, on the load's core."""
    process, began = setup.workspace.start(
        "live-upstream", ["-m", "bench.live_upstream"], setup.credentials.upstream_environ(), setup.load_core
    )
    port = printed_port(process, "the live upstream")
    return Server(name="live upstream", process=process, port=port, started_in_s=time.perf_counter() - began)


def upstream_counts(upstream: Server) -> Mapping[str, int]:
    """Return the upstream's counts so far."""
    opener = build_opener(ProxyHandler({}))
    with opener.open(f"http://127.0.0.1:{upstream.port}/counts", timeout=5) as answer:
        counts: dict[str, int] = json.loads(answer.read())
    return counts


def start_gateway(
    setup: Setup,
    upstream: Server,
    service: str,
    changes: Mapping[str, str | None] | None = None,
    arguments: Sequence[str] = ("-m", "gateway", "serve"),
) -> Server:
    """Start `python -m gateway serve`. `changes` adds settings; a value of None removes one."""
    data = setup.workspace.new_path("data")
    data.mkdir(mode=0o700)
    port, admin = free_port(), f"127.0.0.1:{free_port()}"
    environ: dict[str, str | None] = {
        **setup.credentials.gateway_environ(upstream.port, str(data)),
        "GATEWAY_LISTEN": f"127.0.0.1:{port}",
        "GATEWAY_ADMIN_LISTEN": admin,
        "GATEWAY_FRONT": setup.front,
        **(changes or {}),
    }
    environment = {name: value for name, value in environ.items() if value is not None}
    process, began = setup.workspace.start("gateway", arguments, environment, setup.server_core)
    # Check the port first: after a failed connection, a gRPC channel waits a second before it tries again.
    wait_for(process, "the gateway's port", lambda: _is_open(port))
    wait_for(process, "the gateway", lambda: is_serving(port, service), 0.01)
    took_s = time.perf_counter() - began
    return Server(name="gateway", process=process, port=port, started_in_s=took_s, admin=admin)


def start_baseline(setup: Setup, upstream: Server, name: str = "N") -> Server:
    """Start comparator N, under another name if it is the subject."""
    data = setup.workspace.new_path("data")
    data.mkdir(mode=0o700)
    environ = setup.credentials.gateway_environ(upstream.port, str(data))
    return start_printing(setup, name, ["-m", "bench.baseline_gateway"], environ)


def start_empty(setup: Setup, answer_bytes: int, loop: str) -> Server:
    """Start comparator E on asyncio's event loop or on uvloop."""
    name = "E" if loop == "asyncio" else f"E_{loop}"
    arguments = ["-m", "bench.empty_server", "--answer-bytes", str(answer_bytes), "--loop", loop]
    return start_printing(setup, name, arguments, {})


def start_front(setup: Setup, path: str) -> Server:
    """Start F, an empty handler on the gateway's HTTP/2 front."""
    return start_printing(setup, "F", ["-m", "bench.front_server", "--path", path], {})


def start_go_echo(setup: Setup) -> Server:
    """Start the comparator of F. Raises: GoMissing, StartFailed."""
    return _start_go(setup, Against.GO_ECHO.value, "echo", {})


def start_go_gateway(setup: Setup, upstream: Server, settings: Mapping[str, str]) -> Server:
    """Start comparator G. Raises: GoMissing, StartFailed."""
    data = setup.workspace.new_path("data")
    data.mkdir(mode=0o700)
    environ = {**setup.credentials.gateway_environ(upstream.port, str(data)), **settings}
    return _start_go(setup, Against.GO.value, "gateway", environ)


def _start_go(setup: Setup, name: str, program: str, environ: Mapping[str, str]) -> Server:
    path = go_program(program)
    one_core = {**environ, "GOMAXPROCS": "1"}
    process, began = setup.workspace.start(name, [], one_core, setup.server_core, program=str(path))
    port = printed_port(process, name)
    return Server(name=name, process=process, port=port, started_in_s=time.perf_counter() - began)


def start_fixed_response(setup: Setup, answer_bytes: int) -> Server:
    """Start the server with a fixed response."""
    return start_printing(
        setup, "fixed", ["-m", "bench.fixed_response_server", "--answer-bytes", str(answer_bytes)], {}
    )


def start_printing(setup: Setup, name: str, arguments: list[str], environ: Mapping[str, str]) -> Server:
    """Start `python ARGUMENTS` on the server's core. The program prints its port as its first line."""
    process, began = setup.workspace.start(name, arguments, environ, setup.server_core)
    port = printed_port(process, name)
    return Server(name=name, process=process, port=port, started_in_s=time.perf_counter() - began)


def free_port() -> int:
    """Return a port that nobody has, at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
