"""The Java client and its connections: causes of lost ones by name, files that are renewed."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import Authority
from tests.clients.driver import LIST_KEYS, ClientError, DrivenClient, until, works
from tests.clients.secured_gateway import CALLER, Secured
from tests.gateway_process import GatewayProcess
from tests.ports import free_port

# A new machine gets Maven's plugins and compiles first.
pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]


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
    until(lambda: not works(client) and "cannot be used yet" in str(client.do("warnings")))
    secured.authority.issue(CALLER).write(tmp_path, "own")
    until(lambda: works(client))
