"""A gateway whose store is sealed keeps its secrets and says so; the pool follows the leases of database users."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import psycopg
import pytest

from gateway.v1 import wallet_pb2, wallet_pb2_grpc
from tests.fixtures_postgres import postgres_server
from tests.gateway_process import GatewayProcess, of_sandbox
from tests.integration.test_store_rotations import Rotation, listed, metrics_of, vault_store
from tests.integration.test_wallet import reserve
from tests.openbao_process import SERVERS
from tests.postgres_process import PostgresProcess
from tests.sandbox_process import SandboxProcess
from tests.vault_process import BUILD_WITHIN_S, VaultProcess
from tools.go_tools import NotBuilt

__all__ = ["postgres_server"]
pytestmark = pytest.mark.timeout(BUILD_WITHIN_S + 300)
NOTICED_WITHIN_S = 60.0


@pytest.fixture(params=SERVERS)
def vault(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[VaultProcess]:
    try:
        server = SERVERS[request.param](tmp_path)
    except NotBuilt as reason:
        pytest.skip(str(reason))
    server.start()
    yield server
    server.close()


def failing_s(gateway: GatewayProcess) -> float:
    name = 'phoenix_gateway_secret_store_failing_seconds{store="vault"}'
    return next(float(line.split()[-1]) for line in metrics_of(gateway).splitlines() if line.startswith(name))


def wait_for(condition: bool, until: float, gateway: GatewayProcess) -> None:
    assert time.monotonic() < until, gateway.log_text[-3000:]
    time.sleep(0.1)


async def test_a_sealed_store_leaves_the_known_secrets_in_use(vault: VaultProcess, sandbox: SandboxProcess) -> None:
    """The metric, the log and the list of keys say since when and why; afterwards a rotation works."""
    vault.mount("secret", "kv", version="2")
    rotation = Rotation(vault_store(vault), sandbox)
    with GatewayProcess(rotation.settings) as gateway:
        assert failing_s(gateway) == 0
        vault.seal()
        until = time.monotonic() + NOTICED_WITHIN_S
        while failing_s(gateway) == 0:
            wait_for(True, until, gateway)
        assert '"cause":"sealed"' in gateway.log_text
        notes = [one.note for one in listed(gateway) if one.source.startswith("vault:")]
        assert all("not readable since 20" in note and "sealed" in note for note in notes)
        assert len(notes) == 2
        vault.unseal()
        await rotation.rotate(gateway)
        until = time.monotonic() + NOTICED_WITHIN_S
        while failing_s(gateway) > 0:
            wait_for(True, until, gateway)


def test_a_start_without_the_store_stops_with_the_cause(vault: VaultProcess, sandbox: SandboxProcess) -> None:
    """The message names setting, reference and cause."""
    vault.mount("secret", "kv", version="2")
    rotation = Rotation(vault_store(vault), sandbox)
    vault.seal()
    gateway = GatewayProcess(rotation.settings)
    assert gateway.spawn().wait(60) != 0
    assert "ADMIN_API_KEY_REF" in gateway.log_text
    assert "vault:secret/phoenix/api#value" in gateway.log_text
    assert "is sealed" in gateway.log_text


def test_the_pool_follows_the_lease_of_its_user(
    vault: VaultProcess, sandbox: SandboxProcess, postgres_server: PostgresProcess, postgres_url: str
) -> None:
    """The lease is renewed, then a new user replaces the old one, and no webhook fails meanwhile."""
    parts = urlsplit(postgres_url)
    where = f"{parts.hostname}:{parts.port}{parts.path}"
    vault("POST", "sys/mounts/database", {"type": "database"})
    vault(
        "POST",
        "database/config/phoenix",
        {
            "plugin_name": "postgresql-database-plugin",
            "allowed_roles": "phoenix",
            "connection_url": f"postgresql://{{{{username}}}}:{{{{password}}}}@{where}?sslmode=disable",
            "username": "postgres",
            "password": "any",
        },
    )
    create = """CREATE ROLE "{{name}}" WITH LOGIN SUPERUSER PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'"""
    vault(
        "POST",
        "database/roles/phoenix",
        {"db_name": "phoenix", "creation_statements": [create], "default_ttl": "10s", "max_ttl": "20s"},
    )
    settings = {
        **of_sandbox(sandbox.urls, sandbox.environ),
        "VAULT_ADDR": vault.address,
        "VAULT_TOKEN": vault.root_token,
        "DATABASE_URL_REF": f"vault-db:database/creds/phoenix#postgresql://{where}",
        "GATEWAY_SECRET_POLL": "0.5",
    }
    with (
        psycopg.connect(postgres_url, autocommit=True) as admin,
        GatewayProcess(settings) as gateway,
        grpc.insecure_channel(gateway.address) as channel,
    ):
        gateway.wait_serving("phoenix.gateway.v1.WalletService", within_s=30)
        wallet = wallet_pb2_grpc.WalletServiceStub(channel)
        users: set[str] = set()
        until = time.monotonic() + 120
        while len(users) < 3:
            answer = wallet.VerifyWallet(reserve(sandbox), timeout=10)
            assert answer.verdict == wallet_pb2.WALLET_VERDICT_VERIFIED
            rows = admin.execute("SELECT usename FROM pg_stat_activity WHERE application_name = 'phoenix-gateway'")
            users |= {str(row[0]) for row in rows}
            wait_for(True, until, gateway)
        assert all(user.startswith("v-") for user in users)
