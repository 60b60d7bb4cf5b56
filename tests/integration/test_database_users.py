"""DATABASE_URL from the database engine of Vault or OpenBao: the pool follows each lease of its users."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from gateway.core.secret import Secret
from gateway.core.secret_reference import Scheme, parse_reference
from gateway.keys.sources.secret_files import SecretSource
from gateway.keys.stores.vault_client import VaultClient, VaultLogin, VaultSettings
from gateway.keys.stores.vault_secrets import VaultDatabaseLogins
from gateway.v1 import wallet_pb2, wallet_pb2_grpc
from tests.database_engine import PASSWORD, DatabaseEngine, postgres_with_passwords
from tests.gateway_process import GatewayProcess, of_sandbox
from tests.integration.test_store_rotations import doctor_of, metrics_of
from tests.integration.test_wallet import reserve
from tests.openbao_process import SERVER_PARAMS, running
from tests.postgres_process import PostgresMissing, PostgresProcess
from tests.sandbox_process import SandboxProcess
from tests.vault_process import BUILD_WITHIN_S, VaultProcess

pytestmark = pytest.mark.timeout(BUILD_WITHIN_S + 400)
WITHIN_S = 120.0
WALLET = "phoenix.gateway.v1.WalletService"


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresProcess]:
    """A server that checks passwords."""
    try:
        with postgres_with_passwords() as server:
            yield server
    except PostgresMissing as missing:
        pytest.skip(str(missing))


@pytest.fixture(params=SERVER_PARAMS)
def vault(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[VaultProcess]:
    with running(request.param, tmp_path) as server:
        yield server


class Webhooks:
    """Sends webhooks one after the other until it is left. `failed`: what was not VERIFIED."""

    def __init__(self, gateway: GatewayProcess, sandbox: SandboxProcess) -> None:
        self._gateway, self._sandbox = gateway, sandbox
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.failed: list[str] = []
        self.verified = 0

    def _run(self) -> None:
        with grpc.insecure_channel(self._gateway.address) as channel:
            wallet = wallet_pb2_grpc.WalletServiceStub(channel)
            while not self._ended.is_set():
                try:
                    answer = wallet.VerifyWallet(reserve(self._sandbox), timeout=20)
                except grpc.RpcError as error:
                    self.failed.append(f"{error.code()} {error.details()}")
                    continue
                if answer.verdict == wallet_pb2.WALLET_VERDICT_VERIFIED:
                    self.verified += 1
                else:
                    self.failed.append(wallet_pb2.WalletVerdict.Name(answer.verdict))

    def __enter__(self) -> Webhooks:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def until(self, is_met: Callable[[], bool]) -> None:
        end = time.monotonic() + WITHIN_S
        while not is_met():
            assert time.monotonic() < end, f"{self.failed[:3]} {self._gateway.log_text[-3000:]}"
            time.sleep(0.1)


def settings_of(sandbox: SandboxProcess, login: dict[str, str], poll_s: str) -> dict[str, str]:
    return {**of_sandbox(sandbox.urls, sandbox.environ), **login, "GATEWAY_SECRET_POLL": poll_s}


def check_hidden(gateway: GatewayProcess) -> None:
    """No password of a user is in what people see."""
    shown = gateway.log_text + metrics_of(gateway) + json.dumps(gateway.readiness()) + doctor_of(gateway)
    assert "vault-db:" in shown
    assert PASSWORD.search(shown) is None


def test_the_pool_follows_the_lease_of_its_user(
    vault: VaultProcess, sandbox: SandboxProcess, postgres: PostgresProcess
) -> None:
    """The lease is renewed, then a new user replaces the old one, and no webhook fails meanwhile."""
    engine = DatabaseEngine(vault, postgres, ttl="8s", max_ttl="20s")
    login = engine.login(ttl="1h", max_ttl="2h")
    with GatewayProcess(settings_of(sandbox, login, "0.5")) as gateway, Webhooks(gateway, sandbox) as webhooks:
        gateway.wait_serving(WALLET, within_s=30)
        webhooks.until(lambda: bool(engine.connected()))
        (first,) = engine.connected()
        ends = {engine.ends_of(first)}

        def is_replaced() -> bool:
            if end := engine.ends_of(first):
                ends.add(end)
            return bool(engine.connected()) and first not in engine.connected()

        webhooks.until(is_replaced)
        webhooks.until(lambda: not engine.ends_of(first))
        assert len(ends) > 1, "the lease was not renewed"
        before = webhooks.verified
        webhooks.until(lambda: webhooks.verified > before)
        assert [] == webhooks.failed
        check_hidden(gateway)


@pytest.mark.faults
def test_a_revoked_lease_is_replaced_at_once(
    vault: VaultProcess, sandbox: SandboxProcess, postgres: PostgresProcess
) -> None:
    """The next poll is an hour away: the connections that PostgreSQL refuses find a new user."""
    engine = DatabaseEngine(vault, postgres, ttl="24h", max_ttl="48h")
    login = engine.login(ttl="24h", max_ttl="48h")
    with GatewayProcess(settings_of(sandbox, login, "3600")) as gateway, Webhooks(gateway, sandbox) as webhooks:
        gateway.wait_serving(WALLET, within_s=30)
        webhooks.until(lambda: bool(engine.connected()))
        (first,) = engine.connected()
        engine.revoke()
        assert engine.ends_of(first) == ""
        webhooks.until(lambda: bool(engine.connected()) and first not in engine.connected())
        before = webhooks.verified
        webhooks.until(lambda: webhooks.verified > before)
        assert {"WALLET_VERDICT_STORE_UNAVAILABLE"} >= set(webhooks.failed)
        check_hidden(gateway)


@pytest.mark.faults
def test_a_lease_is_replaced_before_the_token_that_took_it_ends(
    vault: VaultProcess, sandbox: SandboxProcess, postgres: PostgresProcess
) -> None:
    """Vault revokes with a token what it gave to it, however long the lease would be. No webhook fails."""
    engine = DatabaseEngine(vault, postgres, ttl="24h", max_ttl="48h")
    login = engine.login(ttl="9s", max_ttl="18s")
    with GatewayProcess(settings_of(sandbox, login, "0.5")) as gateway, Webhooks(gateway, sandbox) as webhooks:
        gateway.wait_serving(WALLET, within_s=30)
        users: set[str] = set()

        def are_three() -> bool:
            users.update(engine.connected())
            return len(users) > 2

        webhooks.until(are_three)
        webhooks.until(lambda: sum(not engine.ends_of(one) for one in users) >= 2)
        before = webhooks.verified
        webhooks.until(lambda: webhooks.verified > before)
        assert [] == webhooks.failed


@pytest.mark.faults
def test_a_lease_that_ends_while_the_store_is_sealed_is_replaced_afterwards(
    vault: VaultProcess, sandbox: SandboxProcess, postgres: PostgresProcess
) -> None:
    """Meanwhile webhooks are answered 503 at worst, the store is said to fail, and the process goes on."""
    engine = DatabaseEngine(vault, postgres, ttl="6s", max_ttl="1h")
    login = engine.login(ttl="1h", max_ttl="2h")
    with GatewayProcess(settings_of(sandbox, login, "0.5")) as gateway, Webhooks(gateway, sandbox) as webhooks:
        gateway.wait_serving(WALLET, within_s=30)
        webhooks.until(lambda: bool(engine.connected()))
        (first,) = engine.connected()
        vault.seal()
        webhooks.until(lambda: "sealed" in str(gateway.readiness().get("degraded")))
        assert [] == webhooks.failed, "the connections that are open are enough until then"
        webhooks.until(lambda: bool(webhooks.failed))
        vault.unseal()
        webhooks.until(lambda: bool(engine.connected()) and first not in engine.connected())
        before = webhooks.verified
        webhooks.until(lambda: webhooks.verified > before and not gateway.readiness().get("degraded"))
        assert {"WALLET_VERDICT_STORE_UNAVAILABLE"} >= set(webhooks.failed)
        check_hidden(gateway)


def test_a_login_that_may_not_ask_about_leases_keeps_its_user(vault: VaultProcess, postgres: PostgresProcess) -> None:
    """Without Vault's default policy it gives up asking, and takes no user at each poll."""
    engine = DatabaseEngine(vault, postgres, ttl="1h", max_ttl="2h")
    login = engine.login(ttl="1h", max_ttl="2h", token_no_default_policy=True)
    client = VaultClient(
        VaultSettings(
            address=vault.address,
            login=VaultLogin.APPROLE,
            role_id=login["VAULT_ROLE_ID"],
            secret_id=SecretSource(setting="VAULT_SECRET_ID", value=Secret.from_text(login["VAULT_SECRET_ID"])),
        )
    )
    logins = VaultDatabaseLogins(client, 30.0)
    reference = parse_reference(login["DATABASE_URL_REF"], [Scheme.VAULT_DATABASE])
    urls = [logins.read(reference, with_earlier=False)[0].secret.reveal_text() for _ in range(6)]
    assert len(set(urls)) <= 2, "one more, because a refusal may mean that the token is dead"
    assert len(set(urls[2:])) == 1
