"""Why there is no connection: each cause is an exception of its own, whose text names the cause and the fix."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import phoenix_gateway_client as client
from phoenix_gateway_client import Gateway, Tls, v1
from phoenix_gateway_client.diagnosis import Address, address_of
from tests.certificates import Authority
from tests.gateway_process import GatewayProcess, of_sandbox
from tests.ports import free_port
from tests.sandbox_process import SandboxProcess

CALLER = "spiffe://test/caller"
POLICY = """
[[callers]]
name = "caller"
ids = ["spiffe://test/caller"]
allow = ["keys.read"]
tenants = ["*"]
operators = ["*"]
"""


class Secured(NamedTuple):
    """A gateway with mutual TLS. `folder` has ca.pem and a caller's good.pem and good.key."""

    address: str
    folder: Path
    authority: Authority

    def tls(self, name: str = "good", ca: str = "ca.pem", **more: Any) -> Tls:
        """The files of a caller."""
        own = (self.folder / f"{name}.pem", self.folder / f"{name}.key") if name else (None, None)
        return Tls(self.folder / ca, *own, **more)


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


def list_keys(one: Any) -> Any:
    """A call that changes nothing."""
    return one.keys.list_keys(v1.ListKeysRequest())


def test_the_right_files_connect(secured: Secured, run: Any) -> None:
    """Mutual TLS from files."""
    assert run(list_keys, secured.address, tls=secured.tls()).keys


def test_a_caller_without_a_certificate(secured: Secured, run: Any) -> None:
    """It is told to give one."""
    with pytest.raises(client.ClientCertificateRequired, match=r"only callers with a certificate.*cert_file"):
        run(list_keys, secured.address, tls=secured.tls(""))


@pytest.mark.parametrize("name", ["foreign", "expired"])
def test_a_certificate_that_the_gateway_refuses(secured: Secured, run: Any, name: str) -> None:
    """The file is named."""
    with pytest.raises(client.ClientCertificateRefused, match=rf"{name}\.pem.*not expired"):
        run(list_keys, secured.address, tls=secured.tls(name))


def test_an_old_ca(secured: Secured, run: Any) -> None:
    """The CA file is named, and what to get."""
    with pytest.raises(client.GatewayNotTrusted, match=r"old-ca\.pem did not sign.*Get the current CA") as failed:
        run(list_keys, secured.address, tls=secured.tls(ca="old-ca.pem"))
    assert failed.value.effect == "none"


def test_a_wrong_host_name(secured: Secured, run: Any) -> None:
    """The certificate has 127.0.0.1 and gateway.test."""
    port = secured.address.rpartition(":")[2]
    with pytest.raises(client.WrongHostName, match=r"not for the name localhost.*server_name"):
        run(list_keys, f"localhost:{port}", tls=secured.tls())
    assert run(list_keys, f"localhost:{port}", tls=secured.tls(server_name="gateway.test")).keys


def test_no_tls_to_a_gateway_with_tls(secured: Secured, run: Any) -> None:
    """It is told to give a CA."""
    with pytest.raises(client.TlsExpected, match=r"tls=Tls"):
        run(list_keys, secured.address)


def test_tls_to_a_gateway_without(gateway: GatewayProcess, secured: Secured, run: Any) -> None:
    """It is told to leave it out."""
    with pytest.raises(client.TlsUnexpected, match="does not speak TLS"):
        run(list_keys, gateway.address, tls=secured.tls())


def test_nothing_listens(run: Any) -> None:
    """No call was made."""
    with pytest.raises(client.GatewayUnreachable, match=r"accepts no connection.*whether the gateway runs") as failed:
        run(list_keys, f"127.0.0.1:{free_port()}")
    assert failed.value.effect == "none"


def test_an_unknown_name(run: Any) -> None:
    """DNS is named."""
    with pytest.raises(client.GatewayUnreachable, match=r"no-such-host\.invalid is unknown"):
        run(list_keys, "no-such-host.invalid:50051")


def test_another_server(run: Any) -> None:
    """A port that speaks something else is no gateway."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            while True:
                try:
                    peer, _ = server.accept()
                except OSError:
                    return
                with peer:
                    peer.sendall(b"220 mail.example ESMTP\r\n")

        threading.Thread(target=greet, daemon=True).start()
        with pytest.raises(client.GatewayUnreachable, match="not a gateway"):
            run(list_keys, f"127.0.0.1:{server.getsockname()[1]}")
        server.shutdown(socket.SHUT_RDWR)


def test_files_that_cannot_be_used(secured: Secured, tmp_path: Path, run: Any) -> None:
    """A missing file, a key of another certificate, no PEM: each is named before any connection."""
    with pytest.raises(client.TlsFilesUnusable, match=r"gone\.pem cannot be read \(No such file"):
        run(list_keys, secured.address, tls=Tls(ca_file=tmp_path / "gone.pem"))
    mixed = Tls(secured.folder / "ca.pem", secured.folder / "good.pem", secured.folder / "foreign.key")
    with pytest.raises(client.TlsFilesUnusable, match="do not belong together"):
        run(list_keys, secured.address, tls=mixed)
    (tmp_path / "empty.pem").write_text("")
    with pytest.raises(client.TlsFilesUnusable, match=r"empty\.pem has no certificate"):
        run(list_keys, secured.address, tls=Tls(tmp_path / "empty.pem"))
    with pytest.raises(client.TlsFilesUnusable, match="give both"):
        Tls(tmp_path / "ca.pem", cert_file=tmp_path / "own.pem")


def test_renewed_files_are_used_without_a_restart(secured: Secured, tmp_path: Path) -> None:
    """The same client that was refused works once its files are replaced, also while calls are made."""
    (tmp_path / "ca.pem").write_bytes(secured.authority.certificate)
    Authority("Other CA").issue(CALLER).write(tmp_path, "own")
    with Gateway(secured.address, tls=Tls(tmp_path / "ca.pem", tmp_path / "own.pem", tmp_path / "own.key")) as one:
        with pytest.raises(client.ClientCertificateRefused):
            list_keys(one)
        secured.authority.issue(CALLER).write(tmp_path, "own")
        until = time.monotonic() + 30
        while True:
            try:
                assert list_keys(one).keys
                return
            except client.NotConnected:
                assert time.monotonic() < until
                time.sleep(0.1)


def test_a_half_written_renewal_leaves_the_old_files_in_use(secured: Secured, tmp_path: Path) -> None:
    """A new certificate whose key is not there yet does not end the calls."""
    (tmp_path / "ca.pem").write_bytes(secured.authority.certificate)
    secured.authority.issue(CALLER).write(tmp_path, "own")
    with Gateway(secured.address, tls=Tls(tmp_path / "ca.pem", tmp_path / "own.pem", tmp_path / "own.key")) as one:
        assert list_keys(one).keys
        (tmp_path / "own.pem").write_bytes(secured.authority.issue(CALLER).certificate)
        one._calls._channels._look_at = 0.0  # the next call looks
        assert list_keys(one).keys


@pytest.mark.parametrize(
    ("target", "address"),
    [
        ("gateway:50051", Address("gateway", 50051)),
        ("dns:///gateway.internal:1", Address("gateway.internal", 1)),
        ("[::1]:50051", Address("::1", 50051)),
        ("ipv4:127.0.0.1:5", Address("127.0.0.1", 5)),
        ("unix:/run/gateway.sock", Address("", 0, "/run/gateway.sock")),
        ("unix:///run/gateway.sock", Address("", 0, "/run/gateway.sock")),
        ("xds:///gateway", None),
    ],
)
def test_targets_of_grpc(target: str, address: Address | None) -> None:
    """The diagnosis finds the same place as grpc."""
    assert address_of(target) == address
