"""How a real Vault and a real OpenBao let the gateway in: logins, tokens that end, and TLS."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest

from gateway.core.secret import Secret
from gateway.keys.sources.secret_files import SecretSource
from gateway.keys.sources.store_failure import StoreCause
from gateway.keys.stores.vault_client import VaultClient, VaultLogin, VaultSettings
from gateway.keys.stores.vault_secrets import _Lease
from tests.certificates import Authority
from tests.keys.stores.vault_reads import client, failure, read
from tests.vault_process import BUILD_WITHIN_S, VaultProcess

pytestmark = pytest.mark.timeout(BUILD_WITHIN_S + 120)


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


def test_a_login_of_the_database_engine_is_renewed_and_replaced() -> None:
    """tests/integration/test_database_users.py has it with a PostgreSQL; here is when a lease is due."""
    lease = _Lease(Secret.from_text("postgresql://u:p@h/d"), "id", 100.0, 3600, 1)
    assert not lease.is_due(1800.0, 30.0)
    assert lease.is_due(1901.0, 30.0)
    assert _Lease(lease.url, "id", 100.0, 60, 1).is_due(101.0, 30.0)
