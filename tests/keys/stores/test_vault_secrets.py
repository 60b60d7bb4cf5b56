"""Secrets in a real Vault and a real OpenBao: versions, logins, renewals, and every way to fail."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from gateway.core.secret import Secret, SecretRefused
from gateway.core.secret_reference import parse_reference
from gateway.keys.sources.secret_files import SecretSource
from gateway.keys.sources.secret_store import StoredSecret
from gateway.keys.sources.store_failure import StoreCause, StoreFailed
from gateway.keys.stores.vault_client import VaultClient, VaultLogin, VaultSettings
from gateway.keys.stores.vault_secrets import VaultSecrets, _Lease
from tests.certificates import Authority
from tests.vault_process import BUILD_WITHIN_S, VaultProcess

pytestmark = pytest.mark.timeout(BUILD_WITHIN_S + 120)


def client(
    vault: VaultProcess, token: str | None = None, address: str | None = None, **settings: object
) -> VaultClient:
    source = SecretSource(setting="VAULT_TOKEN", value=Secret.from_text(token or vault.root_token))
    return VaultClient(
        VaultSettings(address=address or vault.address, login=VaultLogin.TOKEN, token=source, **settings)  # type: ignore[arg-type]
    )


def read(vault: VaultProcess, text: str, by: VaultClient | None = None) -> list[tuple[str, str]]:
    """The versions that a reference names: name and value."""
    by = by or client(vault, vault.token("reader"))
    found = VaultSecrets(by).read(parse_reference(text), with_earlier=True)
    return [(one.name, one.secret.reveal_text()) for one in found]


def failure(vault: VaultProcess, text: str, by: VaultClient) -> StoreFailed:
    with pytest.raises(StoreFailed) as failed:
        VaultSecrets(by).read(parse_reference(text), with_earlier=True)
    return failed.value


def test_kv_2_gives_its_versions_and_their_times(vault: VaultProcess) -> None:
    """The last one is in force. A deleted one is not, and the one before it is."""
    for number in (1, 2, 3):
        vault("POST", "secret/data/versions", {"data": {"key": f"value-{number}"}})
    assert read(vault, "vault:secret/versions#key") == [("1", "value-1"), ("2", "value-2"), ("3", "value-3")]
    vault("DELETE", "secret/data/versions")
    assert read(vault, "vault:secret/versions#key") == [("1", "value-1"), ("2", "value-2")]
    vault("POST", "secret/data/versions", {"data": {"key": "value-4"}})
    found = VaultSecrets(client(vault)).read(parse_reference("vault:secret/versions#key"), with_earlier=False)
    assert [one.name for one in found] == ["4"]
    assert found[0].created_at is not None


def test_a_version_that_will_be_deleted_is_in_force_until_then(
    vault: VaultProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Vault's clock decides, not ours, which may be wrong."""
    now = time.time
    monkeypatch.setattr("time.time", lambda: now() + 7200)
    vault("POST", "secret/metadata/ending", {"delete_version_after": "1h"})
    for number in (1, 2):
        vault("POST", "secret/data/ending", {"data": {"key": f"value-{number}"}})
    assert read(vault, "vault:secret/ending#key") == [("1", "value-1"), ("2", "value-2")]
    vault("POST", "secret/destroy/ending", {"versions": [2]})
    monkeypatch.setattr("time.time", lambda: now() - 7200)
    assert read(vault, "vault:secret/ending#key") == [("1", "value-1")]


def test_kv_1_gives_one_value(vault: VaultProcess) -> None:
    """It keeps no versions."""
    vault("POST", "old/app/key", {"value": "only"})
    assert read(vault, "vault:old/app/key#value") == [("", "only")]


def test_what_cannot_be_read_has_its_cause(vault: VaultProcess) -> None:
    """And a message that names the path and what to do, without a value."""
    vault("POST", "secret/data/causes", {"data": {"key": "hidden-value", "number": 5}})
    reader = client(vault, vault.token("reader"))
    for text, cause, part in (
        ("vault:secret/causes#other", StoreCause.WRONG_FIELD, "has no field other"),
        ("vault:secret/causes#number", StoreCause.WRONG_FIELD, "no text"),
        ("vault:secret/nothing#key", StoreCause.NO_SUCH_PATH, "secret/data/nothing"),
        ("vault:elsewhere/x#key", StoreCause.FORBIDDEN, "elsewhere"),
    ):
        found = failure(vault, text, reader)
        assert (text, found.cause) == (text, cause)
        assert part in str(found)
        assert "hidden-value" not in str(found)


def test_a_wrong_token_is_a_login_that_is_refused(vault: VaultProcess) -> None:
    """Not a missing right."""
    assert failure(vault, "vault:secret/x#key", client(vault, "hvs.no-token")).cause is StoreCause.LOGIN


def test_a_sealed_vault_is_said_to_be_sealed(vault: VaultProcess) -> None:
    """And works again when it is unsealed."""
    vault("POST", "secret/data/sealed", {"data": {"key": "value"}})
    by = client(vault)
    vault.seal()
    try:
        assert failure(vault, "vault:secret/sealed#key", by).cause is StoreCause.SEALED
    finally:
        vault.unseal()
    assert read(vault, "vault:secret/sealed#key", by) == [("1", "value")]


def test_a_vault_that_is_gone_cannot_be_reached(vault: VaultProcess) -> None:
    """A port where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{probe.getsockname()[1]}"
        assert failure(vault, "vault:secret/x#key", client(vault, address=closed)).cause is StoreCause.UNREACHABLE


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"no HTTP at all\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nno JSON!!",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.2/\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_garbage_is_a_failure_with_a_cause(vault: VaultProcess, answer: bytes) -> None:
    """Whatever a server answers, no other exception reaches the gateway."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    taken, _ = server.accept()
                except OSError:
                    return
                with taken:
                    taken.recv(4096)
                    taken.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        found = failure(vault, "vault:secret/x#key", client(vault, address=address))
        assert found.cause in (StoreCause.UNUSABLE_ANSWER, StoreCause.UNREACHABLE)
        server.shutdown(socket.SHUT_RDWR)


def test_approle_logs_in_and_again_when_its_token_is_revoked(vault: VaultProcess) -> None:
    """The role's secret id is read at each login."""
    vault("POST", "sys/auth/approle", {"type": "approle"})
    vault("POST", "auth/approle/role/gateway", {"token_policies": "reader", "token_ttl": "1h"})
    role_id = vault("GET", "auth/approle/role/gateway/role-id")["data"]["role_id"]
    secret_id = vault("POST", "auth/approle/role/gateway/secret-id", {})["data"]["secret_id"]
    by = VaultClient(
        VaultSettings(
            address=vault.address,
            login=VaultLogin.APPROLE,
            role_id=role_id,
            secret_id=SecretSource(setting="VAULT_SECRET_ID", value=Secret.from_text(secret_id)),
        )
    )
    vault("POST", "secret/data/approle", {"data": {"key": "value"}})
    assert read(vault, "vault:secret/approle#key", by) == [("1", "value")]
    own = by.get("auth/token/lookup-self")["data"]["accessor"]
    vault("POST", "auth/token/revoke-accessor", {"accessor": own})
    assert read(vault, "vault:secret/approle#key", by) == [("1", "value")]
    assert by.get("auth/token/lookup-self")["data"]["accessor"] != own


def test_a_token_is_renewed_before_it_ends(vault: VaultProcess) -> None:
    """After two thirds of its time; the clock is moved by hand."""
    now = [0.0]
    source = SecretSource(
        setting="VAULT_TOKEN", value=Secret.from_text(vault.token("reader", ttl="1h", explicit_max_ttl="10h"))
    )
    by = VaultClient(VaultSettings(address=vault.address, login=VaultLogin.TOKEN, token=source), clock=lambda: now[0])
    issued = by.get("auth/token/lookup-self")["data"].get("last_renewal_time")
    now[0] = 2000.0
    assert by.get("auth/token/lookup-self")["data"].get("last_renewal_time") == issued
    now[0] = 2500.0
    assert by.get("auth/token/lookup-self")["data"].get("last_renewal_time") != issued


def test_a_replaced_token_file_is_read_when_its_token_is_dead(vault: VaultProcess, tmp_path: Path) -> None:
    """As an agent replaces it."""
    file = tmp_path / "token"
    first, second = vault.token("reader"), vault.token("reader")
    file.write_text(first)
    file.chmod(0o600)
    vault("POST", "secret/data/agent", {"data": {"key": "value"}})
    by = VaultClient(
        VaultSettings(
            address=vault.address, login=VaultLogin.TOKEN, token=SecretSource(setting="VAULT_TOKEN_FILE", path=file)
        )
    )
    assert read(vault, "vault:secret/agent#key", by) == [("1", "value")]
    vault("POST", "auth/token/revoke", {"token": first})
    file.write_text(second)
    assert read(vault, "vault:secret/agent#key", by) == [("1", "value")]


def test_a_jwt_logs_in(vault: VaultProcess, tmp_path: Path) -> None:
    """Kubernetes sends the same request to its own mount."""
    import jwt
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    vault("POST", "sys/auth/workload", {"type": "jwt"})
    vault("POST", "auth/workload/config", {"jwt_validation_pubkeys": [pem]})
    role = {"role_type": "jwt", "user_claim": "sub", "bound_audiences": ["vault"], "token_policies": "reader"}
    vault("POST", "auth/workload/role/gateway", role)
    token = jwt.encode(
        {"sub": "gateway", "aud": "vault", "iat": int(time.time()) - 60, "exp": int(time.time()) + 600},
        key,
        algorithm="ES256",
    )
    (tmp_path / "jwt").write_text(token + "\n")
    by = VaultClient(
        VaultSettings(
            address=vault.address, login=VaultLogin.JWT, mount="workload", role="gateway", jwt_file=tmp_path / "jwt"
        )
    )
    vault("POST", "secret/data/jwt", {"data": {"key": "value"}})
    assert read(vault, "vault:secret/jwt#key", by) == [("1", "value")]
    (tmp_path / "jwt").write_text("no token")
    other = VaultClient(
        VaultSettings(
            address=vault.address, login=VaultLogin.JWT, mount="workload", role="gateway", jwt_file=tmp_path / "jwt"
        )
    )
    assert failure(vault, "vault:secret/jwt#key", other).cause is StoreCause.LOGIN


def test_tls_needs_the_right_ca(vault: VaultProcess, tmp_path: Path) -> None:
    """Another CA is a TLS failure, ours is fine."""
    authority, other = Authority("Store CA"), Authority("Other CA")
    (tmp_path / "ca.pem").write_bytes(authority.certificate)
    (tmp_path / "other.pem").write_bytes(other.certificate)
    files = authority.issue("127.0.0.1").write(tmp_path, "vault")
    (tmp_path / "state").mkdir()
    server = type(vault)(tmp_path / "state", certificate=files, ca=tmp_path / "ca.pem")
    try:
        server.start()
        server.mount("secret", "kv", version="2")
        server("POST", "secret/data/tls", {"data": {"key": "value"}})
        trusting = client(server, ca_file=tmp_path / "ca.pem")
        assert read(server, "vault:secret/tls#key", trusting) == [("1", "value")]
        doubting = client(server, ca_file=tmp_path / "other.pem")
        assert failure(server, "vault:secret/tls#key", doubting).cause is StoreCause.TLS
    finally:
        server.close()


def test_an_expired_certificate_is_a_tls_failure(vault: VaultProcess, tmp_path: Path) -> None:
    """Also of the right CA."""
    authority = Authority("Store CA")
    (tmp_path / "ca.pem").write_bytes(authority.certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("127.0.0.1", ends=timedelta(days=-1)).write(tmp_path, "vault"))
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    taken, _ = server.accept()
                    with contextlib.suppress(OSError):
                        context.wrap_socket(taken, server_side=True).close()

        threading.Thread(target=serve, daemon=True).start()
        doubting = client(vault, address=f"https://127.0.0.1:{server.getsockname()[1]}", ca_file=tmp_path / "ca.pem")
        assert failure(vault, "vault:secret/tls#key", doubting).cause is StoreCause.TLS
        server.shutdown(socket.SHUT_RDWR)


LATER = ("token revoked", "right taken", "version deleted", "version destroyed", "field gone", "mount gone")


@pytest.mark.parametrize("kind", LATER)
def test_what_goes_wrong_later_leaves_the_known_value(vault: VaultProcess, kind: str) -> None:
    """Each has its cause and no value in its message, and the next version is used once it can be read again."""
    mount, policy = f"late{LATER.index(kind)}", f"late-{LATER.index(kind)}"
    vault.mount(mount, "kv", version="2")
    path = f"{mount}/data/app"
    vault.policy(policy, {path: ["read"]})
    vault("POST", path, {"data": {"key": "hidden-value-1", "other": "hidden-other"}})
    token = vault.token(policy)
    stored = StoredSecret(parse_reference(f"vault:{mount}/app#key"), VaultSecrets(client(vault, token)), lambda: 100.0)

    def again() -> None:
        vault("POST", path, {"data": {"key": "hidden-value-2", "other": "hidden-other"}})

    faults: dict[str, tuple[Callable[[], object], StoreCause]] = {
        "token revoked": (lambda: vault("POST", "auth/token/revoke", {"token": token}), StoreCause.LOGIN),
        "right taken": (lambda: vault.policy(policy, {path: ["deny"]}), StoreCause.FORBIDDEN),
        "version deleted": (lambda: vault("DELETE", path), StoreCause.NO_SUCH_PATH),
        "version destroyed": (
            lambda: vault("POST", f"{mount}/destroy/app", {"versions": [1]}), StoreCause.NO_SUCH_PATH
        ),
        "field gone": (lambda: vault("POST", path, {"data": {"other": "hidden-other"}}), StoreCause.WRONG_FIELD),
        "mount gone": (lambda: vault("DELETE", f"sys/mounts/{mount}"), StoreCause.NO_SUCH_PATH),
    }  # fmt: skip
    begin, cause = faults[kind]
    begin()
    refused = stored.refresh()
    assert isinstance(refused, StoreFailed)
    assert (refused.cause, stored.failing_since) == (cause, 100.0)
    assert "hidden" not in str(refused)
    assert stored.versions[-1].secret.reveal_text() == "hidden-value-1"
    if kind == "token revoked":
        return  # a token that is given as a value cannot be replaced
    if kind == "right taken":
        vault.policy(policy, {path: ["read"]})
    if kind == "mount gone":
        vault.mount(mount, "kv", version="2")
    again()
    assert stored.refresh() is None
    assert (stored.failing_since, stored.versions[-1].secret.reveal_text()) == (None, "hidden-value-2")


def test_known_versions_stay_while_the_store_is_away(vault: VaultProcess) -> None:
    """The failure and its time are kept, and a new version is found afterwards."""
    vault("POST", "secret/data/away", {"data": {"key": "value-1"}})
    now = [100.0]
    stored = StoredSecret(parse_reference("vault:secret/away#key"), VaultSecrets(client(vault)), lambda: now[0])
    vault.seal()
    try:
        assert isinstance(stored.refresh(), SecretRefused)
        now[0] = 200.0
        assert isinstance(stored.refresh(), SecretRefused)
        assert (stored.failing_since, stored.versions[-1].secret.reveal_text()) == (100.0, "value-1")
    finally:
        vault.unseal()
    vault("POST", "secret/data/away", {"data": {"key": "value-2"}})
    assert stored.refresh() is None
    assert (stored.failing_since, stored.versions[-1].secret.reveal_text()) == (None, "value-2")


def test_needless_rights_are_named(vault: VaultProcess) -> None:
    """Reading is needed; listing and writing are not. Asking changes nothing."""
    vault("POST", "secret/data/rights/key", {"data": {"key": "value"}})
    vault.policy("writer", {"secret/data/rights/key": ["read", "update"], "secret/metadata/rights/": ["list"]})
    reference = parse_reference("vault:secret/rights/key#key")
    assert VaultSecrets(client(vault, vault.token("reader"))).needless_rights(reference) == []
    found = VaultSecrets(client(vault, vault.token("writer"))).needless_rights(reference)
    assert found == ["update secret/data/rights/key", "list secret/metadata/rights/"]


def test_a_login_of_the_database_engine_is_renewed_and_replaced() -> None:
    """tests/integration/test_database_users.py has it with a PostgreSQL; here is when a lease is due."""
    lease = _Lease(Secret.from_text("postgresql://u:p@h/d"), "id", 100.0, 3600, 1)
    assert not lease.is_due(1800.0, 30.0)
    assert lease.is_due(1901.0, 30.0)
    assert _Lease(lease.url, "id", 100.0, 60, 1).is_due(101.0, 30.0)
