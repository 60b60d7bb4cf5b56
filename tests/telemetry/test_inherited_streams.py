"""Standard output and error as containers hand them over: pipes of another user, sockets, readers that stop."""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gateway.telemetry.line_pieces import PIECE_BYTES
from gateway.telemetry.log_pipe import MAX_WAITING_BYTES
from gateway.telemetry.logs import configure, lines_lost, log
from gateway.v1 import tokens_pb2, tokens_pb2_grpc
from tests.certificates import Authority
from tests.config.valid_settings import TENANT
from tests.gateway_process import ROOT
from tests.other_user import GROUP, USER, needs_root, open_folder
from tests.ports import free_port

_APPEND = f"""
import os, sys
from pathlib import Path
from gateway.telemetry import audit_file
from gateway.telemetry.audit_file import AuditFile
audit_file.WRITE_WITHIN_S = 30  # the test that reads may be slow
if os.geteuid() == 0:
    os.setgroups([{GROUP}])
    os.setgid({USER})
    os.setuid({USER})
file = AuditFile(Path(sys.argv[1]), durable=True)
for number in range(int(sys.argv[2])):
    file.append([b"%d:" % number + b"x" * 700 + b"\\n" for _ in range(20)])
"""


def appending(path: str, times: int, **streams: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", _APPEND, path, str(times)],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        **streams,
    )


LINK = "a link"
"""An image's log file that is a link to /dev/stdout."""


def linked(path: str, folder: Path) -> str:
    """The path; for LINK, that of a link in a folder that every user can enter."""
    if path == LINK:
        path = str(folder / "audit.jsonl")
        os.symlink("/dev/stdout", path)
    return path


@needs_root
@pytest.mark.parametrize("path", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", LINK])
def test_audit_lines_reach_a_pipe_of_another_user(path: str) -> None:
    """A container's runtime makes the pipe as root; user 1000 cannot open it again, and need not."""
    with open_folder() as folder, appending(linked(path, folder), 3, stdout=subprocess.PIPE) as process:
        out, error = process.communicate(timeout=30)
    assert (process.returncode, error, out.count(b"\n")) == (0, b"", 60)


@pytest.mark.parametrize("path", ["/dev/stdout", "/dev/fd/1", LINK])
def test_audit_lines_reach_a_socket(path: str) -> None:
    """As under systemd, where journald reads."""
    ours, theirs = socket.socketpair()
    with open_folder() as folder, ours, appending(linked(path, folder), 3, stdout=theirs) as process:
        theirs.close()
        process.wait(timeout=30)
        assert process.stderr is not None
        assert (process.returncode, process.stderr.read()) == (0, b"")
        ours.settimeout(5)
        found = b""
        while found.count(b"\n") < 60:
            found += ours.recv(65536)


def test_audit_lines_of_several_processes_are_never_torn() -> None:
    """They share a pipe, and a slow reader fills it."""
    read, write = os.pipe()
    processes = [appending("/dev/stdout", 20, stdout=write) for _ in range(3)]
    os.close(write)
    found = b""
    with os.fdopen(read, "rb", buffering=0) as pipe:
        while chunk := pipe.read(3000):
            found += chunk
            if len(found) < 200_000:
                time.sleep(0.002)
    for process in processes:
        process.communicate(timeout=30)
    lines = found.splitlines()
    assert len(lines) == 3 * 20 * 20
    assert all(len(line.partition(b":")[2]) == 700 for line in lines)


@contextmanager
def logging_into(descriptor: int) -> Iterator[None]:
    """JSON logs of this test into this descriptor. The logging setup is restored afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    with os.fdopen(descriptor, "w") as stream:
        configure("info", "json", stream)
        try:
            yield
        finally:
            structlog.reset_defaults()
            logging.captureWarnings(False)
            root.handlers[:], root.level = handlers, level


def test_a_reader_that_stops_blocks_no_call_and_every_lost_line_is_counted() -> None:
    """Lines wait up to a limit, and are dropped above it. Whole lines arrive when the reader goes on."""
    read, write = os.pipe()
    count = 3 * MAX_WAITING_BYTES // 400
    with logging_into(write):
        began = time.monotonic()
        for number in range(count):
            log().info("line", count=number, trouble="x" * 400)
        elapsed_s = time.monotonic() - began
        assert lines_lost() > 0
        arrived: list[dict[str, Any]] = []

        def read_all() -> None:
            with os.fdopen(read, "rb") as pipe:
                arrived.extend(json.loads(line) for line in pipe)

        reader = threading.Thread(target=read_all)
        reader.start()
        end, sent = time.monotonic() + 20, count
        while not any(line["event"] == "again" for line in arrived):
            assert time.monotonic() < end
            log().info("again")
            sent += 1  # it is lost too while the reader has made no room
            time.sleep(0.05)
        log().info("last")
        while not any(line["event"] == "last" for line in arrived):  # before the stream is closed
            assert time.monotonic() < end
            time.sleep(0.01)
        lost = lines_lost()
    reader.join(20)
    assert elapsed_s < 10
    numbers = [line["count"] for line in arrived if line["event"] == "line"]
    assert numbers == sorted(numbers)
    reported = sum(line["count"] for line in arrived if line["event"] == "log lines lost")
    whole = sum(line["event"] in ("line", "again") for line in arrived)
    assert (whole + reported, reported) == (sent, lost)


def test_lines_are_cut_at_their_ends() -> None:
    """A piece is what a pipe takes whole; only a line that is longer is a larger piece."""
    from gateway.telemetry.line_pieces import pieces

    lines = [b"a" * 1500 + b"\n"] * 5 + [b"b" * 9000 + b"\n"] + [b"c\n"]
    found = list(pieces(lines))
    assert b"".join(piece for piece, _ in found) == b"".join(lines)
    assert [count for _, count in found] == [2, 2, 1, 1, 1]
    assert [len(piece) <= PIECE_BYTES for piece, _ in found] == [True, True, True, False, True]


def settings_of_a_gateway(folder: Path, **further: str) -> dict[str, str]:
    """One tenant, nothing of Phoenix, free ports, and what a process needs."""
    local = {name: "http://127.0.0.1:9" for name in TENANT if name.endswith("BASE_URL")}
    return {
        **TENANT,
        **local,
        "WEBSOCKET_URL": "ws://127.0.0.1:9/ws",
        "GATEWAY_LISTEN": f"127.0.0.1:{free_port()}",
        "GATEWAY_ADMIN_LISTEN": f"127.0.0.1:{free_port()}",
        "GATEWAY_DATA_DIR": str(folder / "data"),
        "GATEWAY_DRAIN_DELAY": "0.1",
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        **further,
    }


@contextmanager
def gateway_by_shell(redirections: str, environ: Mapping[str, str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A gateway that a shell starts in the folder with these redirections."""
    command = f"exec {sys.executable} -m gateway serve {redirections}"
    process = subprocess.Popen(["sh", "-c", command], env=environ, cwd=folder)
    try:
        yield process
    finally:
        process.kill()
        process.wait(timeout=30)


def mint(address: str) -> None:
    """Make a call that is audited; wait for the gateway first."""
    with grpc.insecure_channel(address) as channel:
        stub: Any = tokens_pb2_grpc.TokenServiceStub(channel)
        stub.MintTenantJWT(tokens_pb2.MintTenantJWTRequest(user_id="ada"), timeout=45, wait_for_ready=True)


@pytest.mark.timeout(180)  # a gateway is started, on a machine that may be busy
def test_a_gateway_that_inherits_no_stream_serves_and_stops(tmp_path: Path) -> None:
    """Nothing of its own gets the numbers of the standard streams, and it ends as it does elsewhere."""
    environ = settings_of_a_gateway(tmp_path)
    with gateway_by_shell("<&- >&- 2>&-", environ, tmp_path) as process:
        mint(environ["GATEWAY_LISTEN"])
        held = {os.readlink(f"/proc/{process.pid}/fd/{number}") for number in (0, 1, 2)}
        process.terminate()
        assert (held, process.wait(timeout=30)) == ({os.devnull}, 0)


@pytest.mark.timeout(180)
def test_failed_handshakes_write_nothing_to_standard_error(tmp_path: Path) -> None:
    """grpc's library would write a line for each, in the thread that serves: a pipe that nobody reads would stop it."""
    authority = Authority()
    certificate, key = authority.issue("localhost").write(tmp_path, "server")
    (tmp_path / "ca.pem").write_bytes(authority.certificate)
    (tmp_path / "policy.toml").write_text('[[callers]]\nname = "game"\nids = ["game.example"]\n')
    environ = settings_of_a_gateway(
        tmp_path,
        GATEWAY_FRONT="grpc",
        GATEWAY_TLS_CERT_FILE=str(certificate),
        GATEWAY_TLS_KEY_FILE=str(key),
        GATEWAY_TLS_CLIENT_CA_FILE=str(tmp_path / "ca.pem"),
        GATEWAY_CONFIG=str(tmp_path / "policy.toml"),
    )
    host, _, port = environ["GATEWAY_LISTEN"].partition(":")
    with gateway_by_shell("2>error", environ, tmp_path):
        credentials = authority.credentials(authority.issue("game.example"))
        with grpc.secure_channel(f"localhost:{port}", credentials) as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            stub.Check(health_pb2.HealthCheckRequest(), timeout=45, wait_for_ready=True)
            for _ in range(50):
                with socket.create_connection((host, int(port)), 5) as stranger:
                    stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
                    stranger.recv(100)
            stub.Check(health_pb2.HealthCheckRequest(), timeout=10)
    lines = (tmp_path / "error").read_text().splitlines()
    assert [line for line in lines if not line.startswith("{")] == []


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("path", "redirections"), [("/dev/stdout", ">&-"), ("/dev/fd/7", "7>&-"), ("/dev/fd/7", "7</dev/null")]
)
def test_an_audit_log_to_a_closed_descriptor_stops_the_start(path: str, redirections: str, tmp_path: Path) -> None:
    """By name. A socket of the gateway's would get the number, and with it the audit records."""
    environ = settings_of_a_gateway(tmp_path, GATEWAY_AUDIT_FILE=path)
    with gateway_by_shell(f"{redirections} 2>error", environ, tmp_path) as process:
        assert process.wait(timeout=45) == 1
    assert f"GATEWAY_AUDIT_FILE: {path} is closed" in (tmp_path / "error").read_text()


@pytest.mark.faults  # takes long: a group of workers is started
@pytest.mark.timeout(180)
def test_workers_write_audit_lines_to_the_descriptor_that_their_parent_inherited(tmp_path: Path) -> None:
    """Also to one that is no standard stream. No worker warns of a setting that nobody wrote."""
    environ = settings_of_a_gateway(
        tmp_path, GATEWAY_WORKERS="2", GATEWAY_AUDIT_FILE="/dev/fd/7", GATEWAY_AUDIT_REQUIRED="true"
    )
    with gateway_by_shell("7>audit 2>error", environ, tmp_path) as process:
        mint(environ["GATEWAY_LISTEN"])
        process.terminate()
        assert process.wait(timeout=30) == 0
    assert [json.loads(line)["kind"] for line in (tmp_path / "audit").read_text().splitlines()] == ["ended"]
    assert "is no setting of the gateway" not in (tmp_path / "error").read_text()


@pytest.mark.timeout(180)  # a gateway is started, on a machine that may be busy
def test_a_gateway_whose_log_nobody_reads_serves_on(tmp_path: Path) -> None:
    """Calls and probes, after more than a pipe holds."""
    environ = settings_of_a_gateway(tmp_path, GATEWAY_LOG_LEVEL="debug")
    address, admin = environ["GATEWAY_LISTEN"], environ["GATEWAY_ADMIN_LISTEN"]
    process = subprocess.Popen([sys.executable, "-m", "gateway", "serve"], env=environ, stderr=subprocess.PIPE)
    try:
        with grpc.insecure_channel(address) as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            stub.Check(health_pb2.HealthCheckRequest(), timeout=45, wait_for_ready=True)
            for _ in range(500):
                stub.Check(health_pb2.HealthCheckRequest(), timeout=10)
        with urllib.request.urlopen(f"http://{admin}/healthz", timeout=10) as answer:
            assert answer.status == 200
        process.terminate()
        assert process.wait(timeout=30) == 0  # the last lines do not hold it up either
        assert process.stderr is not None
        assert 0 < (process.stderr.read() or b"").count(b"Health/Check") < 500  # the pipe was full: lines were left out
    finally:
        process.kill()
        process.communicate(timeout=30)
