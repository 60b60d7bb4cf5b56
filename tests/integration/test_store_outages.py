"""A gateway whose store is sealed keeps its secrets and says so; it does not start without its store."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateway_process import GatewayProcess
from tests.integration.test_store_rotations import Rotation, listed, metrics_of, vault_store
from tests.openbao_process import SERVER_PARAMS, running
from tests.sandbox_process import SandboxProcess
from tests.vault_process import BUILD_WITHIN_S, VaultProcess

pytestmark = pytest.mark.timeout(BUILD_WITHIN_S + 300)
NOTICED_WITHIN_S = 60.0


@pytest.fixture(params=SERVER_PARAMS)
def vault(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[VaultProcess]:
    with running(request.param, tmp_path) as server:
        yield server


def failing_s(gateway: GatewayProcess) -> float:
    name = 'phoenix_gateway_secret_store_failing_seconds{store="vault"}'
    return next(float(line.split()[-1]) for line in metrics_of(gateway).splitlines() if line.startswith(name))


def wait_for(condition: bool, until: float, gateway: GatewayProcess) -> None:
    assert time.monotonic() < until, gateway.log_text[-3000:]
    time.sleep(0.1)


async def test_a_sealed_store_leaves_the_known_secrets_in_use(vault: VaultProcess, sandbox: SandboxProcess) -> None:
    """The metric, the log and the list of keys say since when and why; afterwards a rotation works."""
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
    rotation = Rotation(vault_store(vault), sandbox)
    vault.seal()
    gateway = GatewayProcess(rotation.settings)
    assert gateway.spawn().wait(60) != 0
    assert "ADMIN_API_KEY_REF" in gateway.log_text
    assert "vault:secret/phoenix/api#value" in gateway.log_text
    assert "is sealed" in gateway.log_text
