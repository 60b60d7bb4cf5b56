"""The TypeScript client against real gateways: causes of lost connections, rotation, streams, webhooks, the package."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import Authority
from tests.clients.driver import LIST_KEYS, ClientError, TypeScriptClient, until, works
from tests.clients.secured_gateway import CALLER, Secured
from tests.gateway_process import GatewayProcess, of_sandbox
from tests.ports import free_port
from tests.sandbox_process import SandboxProcess
from tools import stubs, typescript_client

# A new machine installs and compiles first.
pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

TENANT, BOARD = "tenant-test-001", "typescript"


def test_the_units(typescript: Path) -> None:
    """Rules of ids, retries, streams, errors and webhooks, with Node's own test runner."""
    files = [str(path) for path in sorted((typescript / "build" / "test").glob("*.test.js"))]
    in_one_process = "for (const file of process.argv.slice(1)) await import(file)"
    command = ["node", "--input-type=module", "--eval", in_one_process, *files]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert (done.returncode, len(files) > 5) == (0, True), done.stdout[-20_000:] + done.stderr[-2000:]


def failure(typescript: Path, target: str, **options: Any) -> ClientError:
    """The error of a call."""
    with TypeScriptClient(typescript, target, **options) as client, pytest.raises(ClientError) as failed:
        client.do(*LIST_KEYS)
    return failed.value


def test_the_right_files_connect(typescript: Path, secured: Secured) -> None:
    """Mutual TLS from files; a name in the certificate may stand for the host."""
    with TypeScriptClient(typescript, secured.address, tls=secured.tls()) as client:
        assert client.do(*LIST_KEYS)["keys"]
    other_name = secured.address.replace("127.0.0.1", "localhost")
    with TypeScriptClient(typescript, other_name, tls=secured.tls(serverName="gateway.test")) as client:
        assert client.do(*LIST_KEYS)["keys"]


@pytest.mark.parametrize(
    ("host", "files", "reason", "told"),
    [
        (
            "127.0.0.1",
            {"name": ""},
            "CLIENT_CERTIFICATE_REQUIRED",
            "only callers with a certificate. Give tls.certFile",
        ),
        ("127.0.0.1", {"name": "foreign"}, "CLIENT_CERTIFICATE_REFUSED", "foreign.pem"),
        ("127.0.0.1", {"name": "expired"}, "CLIENT_CERTIFICATE_REFUSED", "Check that it is not expired"),
        ("127.0.0.1", {"ca": "old-ca.pem"}, "GATEWAY_NOT_TRUSTED", "Get the current CA"),
        ("localhost", {}, "WRONG_HOST_NAME", "not for the name localhost"),
        ("127.0.0.1", None, "TLS_EXPECTED", "Give the option tls"),
    ],
    ids=["no certificate", "foreign certificate", "expired certificate", "old CA", "wrong host name", "no TLS"],
)
def test_the_cause_and_the_fix_are_named(
    typescript: Path, secured: Secured, host: str, files: dict[str, str] | None, reason: str, told: str
) -> None:
    """In place of UNAVAILABLE."""
    target = secured.address.replace("127.0.0.1", host)
    found = failure(typescript, target, **({} if files is None else {"tls": secured.tls(**files)}))
    assert (found.reason, told in found.found["details"], found.found["code"]) == (reason, True, "UNAVAILABLE"), found


def test_tls_to_a_gateway_without(typescript: Path, gateway: GatewayProcess, secured: Secured) -> None:
    """It is told to leave it out."""
    assert failure(typescript, gateway.address, tls=secured.tls()).reason == "TLS_UNEXPECTED"


def test_nothing_answers(typescript: Path) -> None:
    """No listener, no name, another protocol."""
    assert "accepts no connection" in str(failure(typescript, f"127.0.0.1:{free_port()}"))
    assert "no-such-host.invalid is unknown" in str(failure(typescript, "no-such-host.invalid:50051"))
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_greet, args=(server,), daemon=True).start()
        assert "is not a gateway" in str(failure(typescript, f"127.0.0.1:{server.getsockname()[1]}"))
        server.shutdown(socket.SHUT_RDWR)


def _greet(server: socket.socket) -> None:
    while True:
        try:
            peer, _ = server.accept()
        except OSError:
            return
        with peer:
            peer.sendall(b"220 mail.example ESMTP\r\n")


def test_files_that_cannot_be_used(typescript: Path, secured: Secured, tmp_path: Path) -> None:
    """A missing file, a key of another certificate, no PEM: each is named before any connection."""
    (tmp_path / "empty.pem").write_text("")
    mixed = secured.tls() | {"keyFile": str(secured.folder / "foreign.key")}
    attempts: list[tuple[dict[str, str], str]] = [
        ({"caFile": str(tmp_path / "gone.pem")}, "gone.pem cannot be read (ENOENT)"),
        (mixed, "do not belong together"),
        ({"caFile": str(tmp_path / "empty.pem")}, "empty.pem has no certificate"),
        ({"caFile": str(secured.folder / "ca.pem"), "certFile": "a"}, "give both or neither"),
    ]
    for tls, told in attempts:
        found = failure(typescript, secured.address, tls=tls)
        assert (found.reason, told in found.found["details"]) == ("TLS_FILES_UNUSABLE", True), found


def test_another_major_version(typescript: Path, gateway: GatewayProcess) -> None:
    """A method that the gateway does not have."""
    with TypeScriptClient(typescript, gateway.address) as client, pytest.raises(ClientError) as failed:
        client.do("callOfAnotherVersion", gateway.address)
    assert failed.value.reason == "VERSION_MISMATCH"
    assert "phoenix.gateway.v9" in failed.value.found["details"]


def test_renewed_files_are_used_without_a_restart(typescript: Path, secured: Secured, tmp_path: Path) -> None:
    """A client that was refused works once its files are replaced; a renewal half done leaves the old files in use."""
    (tmp_path / "ca.pem").write_bytes(secured.authority.certificate)
    Authority("Other CA").issue(CALLER).write(tmp_path, "own")
    tls = Secured(secured.address, tmp_path, secured.authority).tls("own")
    with TypeScriptClient(typescript, secured.address, tls=tls) as client:
        with pytest.raises(ClientError, match="CLIENT_CERTIFICATE_REFUSED"):
            client.do(*LIST_KEYS)
        secured.authority.issue(CALLER).write(tmp_path, "own")
        until(lambda: works(client))
        (tmp_path / "own.pem").write_bytes(secured.authority.issue(CALLER).certificate)
        until(lambda: client.do(*LIST_KEYS)["keys"] and "cannot be used yet" in str(client.do("warnings")))


def test_errors_by_reason(typescript: Path, gateway: GatewayProcess, sandbox: SandboxProcess) -> None:
    """Faulty fields are named, and a refusal of Phoenix says how long to wait."""
    sandbox.control("POST", f"/boards/{TENANT}/{BOARD}", {})
    event = {"leaderboardId": BOARD, "userId": "ada", "scoreDelta": 1}
    with TypeScriptClient(typescript, gateway.address, timeoutMs=2000) as client:
        with pytest.raises(ClientError) as faulty:
            client.do("call", "events", "submitEvent", {"event": {**event, "leaderboardId": ""}})
        assert [one["field"] for one in faulty.value.found["fields"]] == ["event.leaderboard_id"]
        limit = {"surface": "ingestion", "kind": "status", "status": 429, "headers": {"Retry-After": "7"}}
        sandbox.control("POST", "/faults", limit)
        with pytest.raises(ClientError) as limited:
            client.do("call", "events", "submitEvent", {"event": event})
    assert limited.value.reason == "PHOENIX_RATE_LIMITED"
    assert limited.value.found["retryAfterMs"] == pytest.approx(7000, abs=1000)


@pytest.mark.parametrize("framework", ["http", "express", "fastify", "plain"])
def test_webhooks_of_a_framework(
    typescript: Path, gateway: GatewayProcess, sandbox: SandboxProcess, framework: str
) -> None:
    """A move is booked and recorded, its copy with other content gets 422, a forged one 401; without a gateway, 503."""

    def send(wallet: str, **members: str) -> dict[str, Any]:
        move = {"operation": "reserve_cash", "player": "player-1", "currency": "EUR", "amount": "12.50", **members}
        found: dict[str, Any] = sandbox.control("POST", "/wallet/send", {"target": wallet, "timeout_s": 30, **move})
        return {**found["attempts"][-1], "key": found["idempotency_key"]}

    with TypeScriptClient(typescript, gateway.address) as client:
        wallet = client.do(framework)
        first = send(wallet)
        assert (first["treatment"], first["status"]) == ("success", 200)
        assert send(wallet, idempotency_key=first["key"])["status"] == 200
        assert send(wallet, idempotency_key=first["key"], amount="99.00")["status"] == 422
        assert send(wallet, forge="body")["status"] == 401
    with TypeScriptClient(typescript, f"127.0.0.1:{free_port()}") as client:
        assert send(client.do(framework))["status"] == 503


def test_the_readme(typescript: Path, gateway: GatewayProcess) -> None:
    """Its blocks that call a local gateway run as they are, one after another, and end by themselves."""
    printed = []
    for number in (0, 2, 3, 4):
        code = (typescript / "build" / "readme" / f"block-{number}.js").read_text(encoding="utf-8")
        command = ["node", "--input-type=module", "--eval", code.replace("127.0.0.1:50051", gateway.address)]
        done = subprocess.run(command, cwd=typescript, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        printed.append(done.stdout.strip())
    assert printed == ["1n ada 50", "", "ada", "0 failed"]


def test_the_package(typescript: Path, tmp_path: Path) -> None:
    """`npm install` gets code and types at the project's version, with two dependencies."""
    with tarfile.open(typescript_client.write_package(tmp_path)) as archive:
        names = set(archive.getnames())
        found = archive.extractfile("package/package.json")
        assert found is not None
        package = json.loads(found.read())
    assert (package["version"], package["type"]) == (stubs.project_version(), "module")
    assert sorted(package["dependencies"]) == ["@bufbuild/protobuf", "@grpc/grpc-js"]
    assert {"package/README.md", "package/dist/index.js", "package/dist/index.d.ts"} <= names
    assert not any("test" in name or "node_modules" in name for name in names)


def test_the_lock_names_the_public_registry() -> None:
    """And no other host."""
    lock = json.loads((typescript_client.SOURCES / "package-lock.json").read_text(encoding="utf-8"))
    entries = {name: one for name, one in lock["packages"].items() if name}
    assert [name for name, one in entries.items() if "integrity" not in one] == []
    hosts = {one["resolved"].split("/")[2] for one in entries.values()}
    assert hosts == {"registry.npmjs.org"}


@pytest.fixture
def own(sandbox: SandboxProcess) -> Iterator[GatewayProcess]:
    """A gateway that a test may stop and kill."""
    sandbox.control("POST", f"/boards/{TENANT}/{BOARD}", {"scores": {"ada": 1}})
    with GatewayProcess(of_sandbox(sandbox.urls, sandbox.environ)) as process:
        yield process


def events(numbers: range) -> list[dict[str, Any]]:
    """One event for each user."""
    return [{"leaderboardId": BOARD, "userId": f"user-{number}", "scoreDelta": 1} for number in numbers]


def effects(sandbox: SandboxProcess) -> tuple[int, list[str]]:
    """How many events count, and which count more than once."""
    found = sandbox.control("POST", "/effects", {})
    return found["event_ids"], found["more_than_once"]


def test_durable_events_survive_a_kill(typescript: Path, own: GatewayProcess, sandbox: SandboxProcess) -> None:
    """Every message without an answer is sent again; the ids keep each event from counting twice."""
    with TypeScriptClient(typescript, own.address) as client:
        client.do("stream", {})
        client.do("send", *events(range(20)))
        own.stop(signal.SIGKILL)
        client.start("send", *events(range(20, 40)))
        own.start()
        client.finish()
        client.do("flush")
        statuses = client.do("statuses")
        client.do("closeStream")
    assert (len(statuses), set(statuses) <= {"QUEUED", "DUPLICATE"}) == (40, True)
    until(lambda: effects(sandbox)[0] == 40)
    assert effects(sandbox) == (40, [])


def test_direct_events_of_a_killed_gateway_are_not_sent_again(
    typescript: Path, own: GatewayProcess, sandbox: SandboxProcess
) -> None:
    """Another process does not remember their ids: the outcome is unknown, and later events are sent."""
    sandbox.control("POST", "/faults", {"surface": "ingestion", "kind": "hang", "act": True})
    with TypeScriptClient(typescript, own.address) as client:
        client.do("stream", {"durable": False})
        client.do("send", *events(range(1)))
        until(lambda: effects(sandbox)[0] == 1)
        own.stop(signal.SIGKILL)
        sandbox.control("DELETE", "/faults")
        own.start()
        client.do("send", *events(range(1, 2)))
        assert client.do("statuses") == ["OUTCOME_UNKNOWN", "ACCEPTED"]
        client.do("closeStream")
    assert effects(sandbox) == (2, [])


def test_a_cancelled_stream_does_not_know(typescript: Path, own: GatewayProcess, sandbox: SandboxProcess) -> None:
    """What was sent may count; what was not sent does not."""
    sandbox.control("POST", "/faults", {"surface": "ingestion", "kind": "hang", "act": True})
    with TypeScriptClient(typescript, own.address) as client:
        client.do("stream", {"durable": False})
        client.do("send", *events(range(1)))
        until(lambda: effects(sandbox)[0] == 1)
        client.do("cancelStream")
        assert client.do("statuses") == ["OUTCOME_UNKNOWN"]
        with pytest.raises(ClientError, match="CLIENT_CLOSED"):
            client.do("send", *events(range(1, 2)))
    sandbox.control("DELETE", "/faults")


def test_a_watch_continues_over_a_kill(typescript: Path, own: GatewayProcess) -> None:
    """After it comes the whole board again, in another epoch."""
    with TypeScriptClient(typescript, own.address) as client:
        client.do("watch", BOARD)
        first = client.do("nextBoard")
        own.stop(signal.SIGKILL)
        client.start("nextBoard")
        own.start()
        again = client.finish()
        assert (first["users"], again["users"]) == (["ada"], ["ada"])
        assert first["epoch"] != again["epoch"]


def test_a_stream_that_cannot_begin_fails_at_once(typescript: Path, gateway: GatewayProcess) -> None:
    """Nobody waits for ever for a wrong address, or for a board without a name."""
    with TypeScriptClient(typescript, f"127.0.0.1:{free_port()}") as client:
        client.do("watch", BOARD)
        with pytest.raises(ClientError, match="GATEWAY_UNREACHABLE"):
            client.do("nextBoard")
        client.do("stream", {})
        with pytest.raises(ClientError, match="GATEWAY_UNREACHABLE"):
            client.do("flush")
    with TypeScriptClient(typescript, gateway.address) as client:
        client.do("watch", "")
        with pytest.raises(ClientError, match="INVALID_FIELD"):
            client.do("nextBoard")
