"""Clients of a real Vault or OpenBao, what they read, and how they fail."""

from __future__ import annotations

import pytest

from gateway.core.secret import Secret
from gateway.core.secret_reference import parse_reference
from gateway.keys.sources.secret_files import SecretSource
from gateway.keys.sources.store_failure import StoreFailed
from gateway.keys.stores.vault_client import VaultClient, VaultLogin, VaultSettings
from gateway.keys.stores.vault_secrets import VaultSecrets
from tests.vault_process import VaultProcess


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
