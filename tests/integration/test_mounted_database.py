"""A running gateway whose database URL is in a mounted file, with a password that is rotated there."""

from __future__ import annotations

import time
from pathlib import Path

import grpc
import psycopg
import pytest

from gateway.v1 import wallet_pb2, wallet_pb2_grpc
from tests.gateway_process import GatewayProcess, of_sandbox
from tests.integration.test_wallet import reserve
from tests.other_user import Mount
from tests.postgres_process import PostgresProcess
from tests.sandbox_process import SandboxProcess


@pytest.mark.timeout(180)
def test_a_replaced_url_is_used_without_a_restart(
    sandbox: SandboxProcess, postgres_server: PostgresProcess, postgres_url: str, tmp_path: Path
) -> None:
    """New connections have the new login, the old ones end, and no webhook fails meanwhile."""
    mount = Mount(tmp_path / "secrets", group=0, mode=0o600)
    names = [f"{kind}_{time.monotonic_ns()}" for kind in ("old", "new")]
    urls = [postgres_url.replace("postgres@", f"{name}:secret-of-{name}@") for name in names]
    settings = {**of_sandbox(sandbox.urls, sandbox.environ), "DATABASE_URL_FILE": mount.path("url")}
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        for name in names:
            admin.execute(f"CREATE ROLE {name} LOGIN SUPERUSER")

        def users() -> set[str]:
            """Who has a connection of the gateway's."""
            rows = admin.execute("SELECT usename FROM pg_stat_activity WHERE application_name = 'phoenix-gateway'")
            return {str(row[0]) for row in rows}

        mount.swap(url=urls[0] + "\n")
        with GatewayProcess(settings) as gateway, grpc.insecure_channel(gateway.address) as channel:
            gateway.wait_serving("phoenix.gateway.v1.WalletService", within_s=30)
            wallet = wallet_pb2_grpc.WalletServiceStub(channel)

            def verified() -> bool:
                answer = wallet.VerifyWallet(reserve(sandbox), timeout=10)
                return bool(answer.verdict == wallet_pb2.WALLET_VERDICT_VERIFIED)

            assert verified()
            assert users() == {names[0]}
            mount.swap(url=urls[1] + "\n")
            until = time.monotonic() + 30
            while users() != {names[1]}:
                assert verified()
                assert time.monotonic() < until, "the old login is still in use"
            assert '"setting":"DATABASE_URL_FILE"' in gateway.log_text
