"""The Java client against real gateways: causes of lost connections, rotation, streams, webhooks, the package."""

from __future__ import annotations

import signal
import socket
import subprocess
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.certificates import Authority
from tests.clients.driver import ClientError, DrivenClient
from tests.gateway_process import GatewayProcess, free_port, of_sandbox
from tests.sandbox_process import SandboxProcess
from tools import java_client, stubs
from tools.generate_protos import ROOT
from tools.go_tools import NotBuilt

pytestmark = pytest.mark.timeout(600)  # a new machine gets Maven's plugins and compiles first

TENANT, BOARD = "tenant-test-001", "java"
CALLER = "spiffe://test/caller"
POLICY = """
[[callers]]
name = "caller"
ids = ["spiffe://test/caller"]
allow = ["keys.read"]
tenants = ["*"]
operators = ["*"]
"""
LIST_KEYS: tuple[Any, ...] = ("call", "keys", "listKeys", {})


@pytest.fixture(scope="module", autouse=True)
def java() -> Path:
    """The folder of the built client. Skips without a JDK, Maven or its artifacts."""
    try:
        return java_client.built()
    except NotBuilt as missing:
        pytest.skip(f"{missing}: install a JDK 17 or later with Maven, and let it reach a repository")


@pytest.fixture(scope="module")
def client() -> Iterator[DrivenClient]:
    """A process with one client, which each test connects."""
    with DrivenClient(java_client.command("Driver")) as process:
        yield process


def test_the_units() -> None:
    """Rules of ids, retries, streams, errors and webhooks, with JUnit."""
    done = subprocess.run(java_client.command("Units"), capture_output=True, text=True, timeout=200, check=False)
    assert (done.returncode, "0 failed" in done.stdout) == (0, True), done.stdout[-20_000:] + done.stderr[-5000:]


class Secured(NamedTuple):
    """A gateway with mutual TLS. `folder` has ca.pem and a caller's good.pem and good.key."""

    address: str
    folder: Path
    authority: Authority

    def tls(self, name: str = "good", ca: str = "ca.pem", **more: str) -> dict[str, str]:
        """The files of a caller."""
        own = {"certFile": str(self.folder / f"{name}.pem"), "keyFile": str(self.folder / f"{name}.key")}
        return {"caFile": str(self.folder / ca), **(own if name else {}), **more}


@pytest.fixture(scope="module")
def secured(sandbox_process: SandboxProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """A gateway that asks for certificates."""
    folder = tmp_path_factory.mktemp("tls")
    authority = Authority()
    (folder / "ca.pem").write_bytes(authority.certificate)
    (folder / "old-ca.pem").write_bytes(Authority("Old CA").certificate)
    authority.issue(CALLER).write(folder, "good")
    authority.issue(CALLER, begins=timedelta(days=-2), ends=timedelta(days=-1)).write(folder, "expired")
    Authority("Other CA").issue(CALLER).write(folder, "foreign")
    certificate, key = authority.issue("127.0.0.1", "gateway.test", for_clients=False).write(folder, "server")
    (folder / "policy.toml").write_text(POLICY)
    settings = {
        **of_sandbox(sandbox_process.urls, sandbox_process.environ),
        "GATEWAY_TLS_CERT_FILE": str(certificate),
        "GATEWAY_TLS_KEY_FILE": str(key),
        "GATEWAY_TLS_CLIENT_CA_FILE": str(folder / "ca.pem"),
        "GATEWAY_CONFIG": str(folder / "policy.toml"),
    }
    with GatewayProcess(settings, credentials=authority.credentials(authority.issue(CALLER))) as process:
        yield Secured(process.address, folder, authority)


def failure(client: DrivenClient, target: str, **options: Any) -> ClientError:
    """The error of a call."""

    def call() -> None:
        client.connect(target, **options)
        client.do(*LIST_KEYS)

    with pytest.raises(ClientError) as failed:
        call()
    return failed.value


def test_the_right_files_connect(client: DrivenClient, secured: Secured) -> None:
    """Mutual TLS from files; a name in the certificate may stand for the host."""
    client.connect(secured.address, tls=secured.tls())
    assert client.do(*LIST_KEYS)["keys"]
    other_name = secured.address.replace("127.0.0.1", "localhost")
    client.connect(other_name, tls=secured.tls(serverName="gateway.test"))
    assert client.do(*LIST_KEYS)["keys"]


@pytest.mark.parametrize(
    ("host", "files", "reason", "told"),
    [
        ("127.0.0.1", {"name": ""}, "CLIENT_CERTIFICATE_REQUIRED", "only callers with a certificate. Give certFile"),
        ("127.0.0.1", {"name": "foreign"}, "CLIENT_CERTIFICATE_REFUSED", "foreign.pem"),
        ("127.0.0.1", {"name": "expired"}, "CLIENT_CERTIFICATE_REFUSED", "Check that it is not expired"),
        ("127.0.0.1", {"ca": "old-ca.pem"}, "GATEWAY_NOT_TRUSTED", "Get the current CA"),
        ("localhost", {}, "WRONG_HOST_NAME", "not for the name localhost"),
        ("127.0.0.1", None, "TLS_EXPECTED", "Give the builder tls"),
    ],
    ids=["no certificate", "foreign certificate", "expired certificate", "old CA", "wrong host name", "no TLS"],
)
def test_the_cause_and_the_fix_are_named(
    client: DrivenClient, secured: Secured, host: str, files: dict[str, str] | None, reason: str, told: str
) -> None:
    """In place of UNAVAILABLE."""
    target = secured.address.replace("127.0.0.1", host)
    found = failure(client, target, **({} if files is None else {"tls": secured.tls(**files)}))
    assert (found.reason, told in found.found["details"], found.found["code"]) == (reason, True, "UNAVAILABLE"), found
    assert (found.found["kind"], found.found["effect"]) == ("NotConnected", "NONE")


def test_tls_to_a_gateway_without(client: DrivenClient, gateway: GatewayProcess, secured: Secured) -> None:
    """It is told to leave it out."""
    assert failure(client, gateway.address, tls=secured.tls()).reason == "TLS_UNEXPECTED"


def test_nothing_answers(client: DrivenClient) -> None:
    """No listener, no name, another protocol."""
    assert "accepts no connection" in str(failure(client, f"127.0.0.1:{free_port()}"))
    assert "no-such-host.invalid is unknown" in str(failure(client, "no-such-host.invalid:50051"))
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_greet, args=(server,), daemon=True).start()
        assert "is not a gateway" in str(failure(client, f"127.0.0.1:{server.getsockname()[1]}"))
        server.shutdown(socket.SHUT_RDWR)


def _greet(server: socket.socket) -> None:
    while True:
        try:
            peer, _ = server.accept()
        except OSError:
            return
        with peer:
            peer.sendall(b"220 mail.example ESMTP\r\n")


def test_files_that_cannot_be_used(client: DrivenClient, secured: Secured, tmp_path: Path) -> None:
    """A missing file, a key of another certificate, no PEM, another form: each is named before any connection."""
    (tmp_path / "empty.pem").write_text("")
    (tmp_path / "old.key").write_text("-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n")
    mixed = secured.tls() | {"keyFile": str(secured.folder / "foreign.key")}
    attempts: list[tuple[dict[str, str], str]] = [
        ({"caFile": str(tmp_path / "gone.pem")}, "gone.pem cannot be read (it does not exist)"),
        (mixed, "do not belong together"),
        (secured.tls() | {"keyFile": str(tmp_path / "old.key")}, "openssl pkcs8 -topk8"),
        ({"caFile": str(tmp_path / "empty.pem")}, "empty.pem has no certificate"),
        ({"caFile": str(secured.folder / "ca.pem"), "certFile": "a"}, "give both or neither"),
    ]
    for tls, told in attempts:
        found = failure(client, secured.address, tls=tls)
        assert (found.reason, told in found.found["details"]) == ("TLS_FILES_UNUSABLE", True), found


def test_another_major_version(client: DrivenClient, gateway: GatewayProcess) -> None:
    """A method that the gateway does not have."""
    client.connect(gateway.address)
    with pytest.raises(ClientError) as failed:
        client.do("callOfAnotherVersion")
    assert (failed.value.reason, failed.value.found["kind"]) == ("VERSION_MISMATCH", "VersionMismatch")
    assert "phoenix.gateway.v9" in failed.value.found["details"]


def test_renewed_files_are_used_without_a_restart(client: DrivenClient, secured: Secured, tmp_path: Path) -> None:
    """A client that was refused works once its files are replaced; a renewal half done leaves the old files in use."""
    (tmp_path / "ca.pem").write_bytes(secured.authority.certificate)
    Authority("Other CA").issue(CALLER).write(tmp_path, "own")
    client.connect(secured.address, tls=Secured(secured.address, tmp_path, secured.authority).tls("own"))
    with pytest.raises(ClientError, match="CLIENT_CERTIFICATE_REFUSED"):
        client.do(*LIST_KEYS)
    (tmp_path / "own.pem").write_bytes(secured.authority.issue(CALLER).certificate)
    with pytest.raises(ClientError, match="CLIENT_CERTIFICATE_REFUSED"):
        client.do(*LIST_KEYS)
    _until(lambda: _fails(client) and "cannot be used yet" in str(client.do("warnings")))
    secured.authority.issue(CALLER).write(tmp_path, "own")
    _until(lambda: not _fails(client))


def _fails(client: DrivenClient) -> bool:
    try:
        return not client.do(*LIST_KEYS)["keys"]
    except ClientError:
        return True


def _until(holds: Callable[[], Any]) -> None:
    until = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < until, "it did not happen within 60 s"
        time.sleep(0.1)


def test_errors_by_reason(client: DrivenClient, gateway: GatewayProcess, sandbox: SandboxProcess) -> None:
    """An exception of its own for each; faulty fields are named, and a refusal of Phoenix says how long to wait."""
    sandbox.control("POST", f"/boards/{TENANT}/{BOARD}", {})
    client.connect(gateway.address, timeoutMs=4000)
    event = {"leaderboardId": BOARD, "userId": "ada", "scoreDelta": 1, "eventId": "one"}
    with pytest.raises(ClientError) as faulty:
        client.do("call", "events", "submitEvent", {"event": {**event, "leaderboardId": ""}})
    assert (faulty.value.found["kind"], faulty.value.found["fields"]) == ("InvalidField", ["event.leaderboard_id"])
    limit = {"surface": "ingestion", "kind": "status", "status": 429, "headers": {"Retry-After": "7"}}
    sandbox.control("POST", "/faults", limit)
    with pytest.raises(ClientError) as limited:
        client.do("call", "events", "submitEvent", {"event": event})
    assert limited.value.reason == "PHOENIX_RATE_LIMITED"
    assert limited.value.found["retryAfterMs"] == pytest.approx(7000, abs=1000)
    with pytest.raises(ClientError, match="has no event_id, so a repeat of it would count twice"):
        client.do("call", "events", "submitEvent", {"event": {**event, "eventId": ""}})


@pytest.mark.parametrize("server", ["http", "servlet"])
def test_webhooks(client: DrivenClient, gateway: GatewayProcess, sandbox: SandboxProcess, server: str) -> None:
    """A move is booked and recorded, its copy with other content gets 422, a forged one 401; without a gateway, 503."""

    def send(wallet: str, **members: str) -> dict[str, Any]:
        move = {"operation": "reserve_cash", "player": "player-1", "currency": "EUR", "amount": "12.50", **members}
        found: dict[str, Any] = sandbox.control("POST", "/wallet/send", {"target": wallet, "timeout_s": 30, **move})
        return {**found["attempts"][-1], "key": found["idempotency_key"]}

    client.connect(gateway.address)
    wallet = client.do(server)
    first = send(wallet)
    assert (first["treatment"], first["status"]) == ("success", 200)
    assert send(wallet, idempotency_key=first["key"])["status"] == 200
    assert send(wallet, idempotency_key=first["key"], amount="99.00")["status"] == 422
    assert send(wallet, forge="body")["status"] == 401
    client.connect(f"127.0.0.1:{free_port()}")
    assert send(client.do(server))["status"] == 503


def test_the_readme(gateway: GatewayProcess) -> None:
    """Its blocks that call a local gateway run as they are, one after another, and end by themselves."""
    printed = []
    for number in (0, 2, 3, 4):
        command = java_client.command(f"ReadmeBlock{number}")
        command[1:1] = [f"-Dgateway={gateway.address}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
        assert done.returncode == 0, done.stderr
        printed.append(done.stdout.strip())
    assert printed == ["1 ada 50.0", "", "ada", "0 failed"]


def test_the_package(tmp_path: Path) -> None:
    """A jar with the code, its sources and its POM, at the project's version; nothing of the tests."""
    jar, sources, pom = java_client.write_package(tmp_path)
    assert jar.name == f"phoenix-gateway-client-{stubs.project_version()}.jar"
    assert f"<version>{stubs.project_version()}</version>" in pom.read_text()
    with zipfile.ZipFile(jar) as archive:
        names = set(archive.namelist())
        assert f"Implementation-Version: {stubs.project_version()}" in archive.read("META-INF/MANIFEST.MF").decode()
    assert {"phoenix/gateway/client/Gateway.class", "phoenix/gateway/client/service_config.json"} <= names
    assert not any("Driver" in name or "Readme" in name or "buf/validate" in name for name in names)
    with zipfile.ZipFile(sources) as archive:
        assert "phoenix/gateway/client/Reasons.java" in archive.namelist()


def test_without_java_the_package_is_skipped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """`make stubs` goes on, and says why the jar is missing."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert java_client.main() == 0
    assert capsys.readouterr().out == "SKIPPED the Java client: the Java client needs a JDK, which is not installed.\n"


def test_every_reason_has_an_exception(java: Path) -> None:
    """docs/errors.md and the client name the same reasons."""
    table = (ROOT / "docs/errors.md").read_text(encoding="utf-8").splitlines()
    documented = {line.split("`")[1] for line in table if line.startswith("| `")}
    code = (java / "src/main/java/phoenix/gateway/client/Reasons.java").read_text(encoding="utf-8").splitlines()
    assert {line.split('"')[1] for line in code if "BY_REASON.put(" in line} == documented


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


@pytest.mark.faults
def test_a_killed_gateway_is_named(client: DrivenClient, own: GatewayProcess) -> None:
    """And a call succeeds as soon as it is back, without the minutes that gRPC waits."""
    client.connect(own.address)
    assert client.do(*LIST_KEYS)["keys"]
    own.stop(signal.SIGKILL)
    with pytest.raises(ClientError) as failed:
        client.do(*LIST_KEYS)
    assert (failed.value.reason, failed.value.found["kind"]) == ("GATEWAY_UNREACHABLE", "NotConnected")
    assert "Check the address, and whether the gateway runs" in failed.value.found["details"]
    own.start()
    _until(lambda: not _fails(client))


@pytest.mark.faults
def test_a_direct_event_of_a_killed_gateway_is_not_repeated(
    client: DrivenClient, own: GatewayProcess, sandbox: SandboxProcess
) -> None:
    """gRPC would send it to the next process, which does not know its id: nobody knows, and it counts once."""
    client.connect(own.address)
    sandbox.control("POST", "/faults", {"surface": "ingestion", "kind": "hang", "act": True})
    (event,) = events(range(1))
    client.start("call", "events", "submitEvent", {"event": {**event, "eventId": "cut"}})
    _until(lambda: effects(sandbox)[0] == 1)
    own.stop(signal.SIGKILL)
    sandbox.control("DELETE", "/faults")
    own.start()
    with pytest.raises(ClientError) as failed:
        client.finish()
    assert (failed.value.found["kind"], failed.value.found["effect"]) == ("NotConnected", "MAYBE")
    assert effects(sandbox) == (1, [])


@pytest.mark.faults
def test_durable_events_survive_a_kill(client: DrivenClient, own: GatewayProcess, sandbox: SandboxProcess) -> None:
    """Every message without an answer is sent again; the ids keep each event from counting twice."""
    client.connect(own.address)
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
    _until(lambda: effects(sandbox)[0] == 40)
    assert effects(sandbox) == (40, [])


@pytest.mark.faults
def test_direct_events_of_a_killed_gateway_are_not_sent_again(
    client: DrivenClient, own: GatewayProcess, sandbox: SandboxProcess
) -> None:
    """Another process does not remember their ids: the outcome is unknown, and later events are sent."""
    client.connect(own.address)
    sandbox.control("POST", "/faults", {"surface": "ingestion", "kind": "hang", "act": True})
    client.do("stream", {"durable": False})
    client.do("send", *events(range(1)))
    _until(lambda: effects(sandbox)[0] == 1)
    own.stop(signal.SIGKILL)
    sandbox.control("DELETE", "/faults")
    own.start()
    client.do("send", *events(range(1, 2)))
    assert client.do("statuses") == ["OUTCOME_UNKNOWN", "ACCEPTED"]
    client.do("closeStream")
    assert effects(sandbox) == (2, [])


@pytest.mark.faults
def test_a_cancelled_stream_does_not_know(client: DrivenClient, own: GatewayProcess, sandbox: SandboxProcess) -> None:
    """What was sent may count; what was not sent does not."""
    client.connect(own.address)
    sandbox.control("POST", "/faults", {"surface": "ingestion", "kind": "hang", "act": True})
    client.do("stream", {"durable": False})
    client.do("send", *events(range(1)))
    _until(lambda: effects(sandbox)[0] == 1)
    client.do("cancelStream")
    assert client.do("statuses") == ["OUTCOME_UNKNOWN"]
    with pytest.raises(ClientError, match="CLIENT_CLOSED"):
        client.do("send", *events(range(1, 2)))
    sandbox.control("DELETE", "/faults")


@pytest.mark.faults
def test_a_watch_continues_over_a_kill(client: DrivenClient, own: GatewayProcess) -> None:
    """After it comes the whole board again, in another epoch."""
    client.connect(own.address)
    client.do("watch", BOARD)
    first = client.do("nextBoard")
    own.stop(signal.SIGKILL)
    client.start("nextBoard")
    own.start()
    again = client.finish()
    assert (first["users"], again["users"]) == (["ada"], ["ada"])
    assert first["epoch"] != again["epoch"]


def test_a_stream_that_cannot_begin_fails_at_once(client: DrivenClient, gateway: GatewayProcess) -> None:
    """Nobody waits for ever for a wrong address, or for a board without a name."""
    client.connect(f"127.0.0.1:{free_port()}")
    client.do("watch", BOARD)
    with pytest.raises(ClientError, match="GATEWAY_UNREACHABLE"):
        client.do("nextBoard")
    client.do("stream", {})
    with pytest.raises(ClientError, match="GATEWAY_UNREACHABLE"):
        _send_and_flush(client)
    client.connect(gateway.address)
    client.do("watch", "")
    with pytest.raises(ClientError, match="INVALID_FIELD"):
        client.do("nextBoard")


def _send_and_flush(client: DrivenClient) -> None:
    client.do("send", *events(range(1)))
    client.do("flush")
