"""Clients of other makes call both fronts and both engines over plaintext, mutual TLS and a Unix socket."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from tests.certificates import Authority
from tests.front.interop import python_cases
from tests.front.interop.subject import FRONTS, TRANSPORTS
from tests.slow_programs import find_grpcurl
from tools import go_tools

INSTALL_WITHIN_S = 120

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
GRPC_JS = ("@grpc/grpc-js@1.14.7", "@grpc/proto-loader@0.8.1")
CASES = [
    *("empty_unary", "large_unary", "compressed_unary", "client_streaming", "server_streaming", "ping_pong"),
    *("empty_stream", "timeout_on_sleeping_server", "cancel_after_begin", "cancel_after_first_response"),
    *("custom_metadata", "status_code_and_message", "special_status_message", "unimplemented_method"),
    "unimplemented_service",
]
LEFT_OUT = {"grpc": "custom_metadata"}
"""Handlers of the gateway set no metadata. Over HTTP/2 the echo is made at the engine, which grpc.aio has not."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """One listener of the subject. `address`: as gRPC writes it; `folder`: of the certificates, with mutual TLS."""

    front: str
    transport: str
    address: str
    folder: Path

    @property
    def tls_folder(self) -> str:
        return str(self.folder) if self.transport == "mtls" else ""

    @property
    def left_out(self) -> str:
        return LEFT_OUT.get(self.front, "")

    def credentials(self) -> grpc.ChannelCredentials | None:
        if self.transport != "mtls":
            return None
        ca, key, pair = ((self.folder / name).read_bytes() for name in ("ca.pem", "client.key", "client.pem"))
        return grpc.ssl_channel_credentials(ca, key, pair)


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, dict[str, str]]]]:
    """One process that serves TestService everywhere; its folder and its addresses."""
    folder = tmp_path_factory.mktemp("interop")
    authority = Authority()
    (folder / "ca.pem").write_bytes(authority.certificate)
    authority.issue("localhost", "127.0.0.1").write(folder, "server")
    authority.issue("spiffe://test/interop").write(folder, "client")
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.front.interop.subject", str(folder)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        yield folder, json.loads(process.stdout.readline())
    finally:
        process.stdin.close()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()


@pytest.fixture(params=[f"{front}-{transport}" for front in FRONTS for transport in TRANSPORTS])
def target(request: pytest.FixtureRequest, subject: tuple[Path, dict[str, dict[str, str]]]) -> Target:
    """Each client calls each listener."""
    folder, addresses = subject
    front, transport = request.param.split("-")
    return Target(front=front, transport=transport, address=addresses[front][transport], folder=folder)


def passed(command: list[str], target: Target, environ: dict[str, str] | None = None) -> list[str]:
    """Run a client that prints each case it passes; return them."""
    done = subprocess.run(
        command, env={**os.environ, **(environ or {})}, capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.split()


def cases_of(target: Target) -> list[str]:
    return [name for name in CASES if name != target.left_out]


@pytest.mark.timeout(go_tools.BUILD_WITHIN_S + 60)
def test_grpc_go(target: Target) -> None:
    """The cases of grpc-go's own interop package."""
    try:
        program = go_tools.built(HERE / "go")
    except go_tools.NotBuilt as reason:
        pytest.skip(str(reason))
    command = [str(program), "-target", target.address, "-tls", target.tls_folder, "-without", target.left_out]
    assert [*cases_of(target), "pick_first_unary"] == passed(command, target)


@pytest.mark.timeout(INSTALL_WITHIN_S + 60)
def test_grpc_js(target: Target) -> None:
    """The same cases over grpc-js."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("grpc-js needs Node.js, which is not installed")
    command = [node, str(HERE / "node" / "client.mjs"), target.address, target.tls_folder, target.left_out]
    assert cases_of(target) == passed(command, target, {"GRPC_JS_FOLDER": str(_grpc_js())})


def test_grpcio_sync(target: Target) -> None:
    """The same cases over grpcio's synchronous client."""
    credentials = target.credentials()
    with (
        grpc.insecure_channel(target.address)
        if credentials is None
        else grpc.secure_channel(target.address, credentials)
    ) as channel:
        python_cases.run_sync(channel, echoes=not target.left_out)


async def test_grpcio_aio(target: Target) -> None:
    """The same cases over grpcio's asyncio client."""
    credentials = target.credentials()
    async with (
        grpc.aio.insecure_channel(target.address)
        if credentials is None
        else grpc.aio.secure_channel(target.address, credentials)
    ) as channel:
        await python_cases.run_aio(channel, echoes=not target.left_out)


@pytest.mark.timeout(go_tools.BUILD_WITHIN_S + 60)
def test_grpcurl(target: Target) -> None:
    """It lists by reflection, calls, and shows a status."""
    try:
        tool = find_grpcurl()
    except go_tools.NotBuilt as reason:
        pytest.skip(str(reason))
    flags = {
        "plaintext": ["-plaintext"],
        "unix": ["-plaintext"],
        "mtls": [
            word
            for flag, name in (("-cacert", "ca.pem"), ("-cert", "client.pem"), ("-key", "client.key"))
            for word in (flag, str(target.folder / name))
        ],
    }[target.transport]
    address = target.address.replace("unix:", "unix://")

    def ran(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(tool), *flags, *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    assert "grpc.testing.TestService.FullDuplexCall" in ran(address, "list", "grpc.testing.TestService").stdout
    answer = ran("-d", '{"response_size": 3}', address, "grpc.testing.TestService/UnaryCall")
    assert {"payload": {"body": "AAAA"}} == json.loads(answer.stdout)
    wanted = '{"response_status": {"code": 9, "message": "not so"}}'
    refused = ran("-d", wanted, address, "grpc.testing.TestService/FullDuplexCall")
    assert "FailedPrecondition" in refused.stderr
    assert "not so" in refused.stderr


def _grpc_js() -> Path:
    """Return the folder that grpc-js is installed in, or skip."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("grpc-js is installed with npm, which is not installed")
    folder = go_tools.cache_folder() / "-".join(name.rpartition("/")[2] for name in GRPC_JS)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            quiet = ["--no-save", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
            done = subprocess.run(
                [npm, "install", "--prefix", str(folder), *quiet, *GRPC_JS],
                capture_output=True,
                text=True,
                timeout=INSTALL_WITHIN_S,
                check=False,
            )
            if done.returncode != 0:
                pytest.skip(f"npm could not install grpc-js: {done.stderr.strip().splitlines()[-1:]}")
            (folder / "done").touch()
    return folder
