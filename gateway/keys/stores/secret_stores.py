"""All stores of a process, each connected when a reference first names it, and the secrets that were read from them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from gateway.core.secret_reference import Scheme, SecretReference
from gateway.keys.sources.secret_store import SecretStore, StoredSecret
from gateway.keys.sources.store_failure import StoreCause, StoreFailed
from gateway.keys.stores.vault_client import VaultClient, VaultSettings

DEFAULT_POLL_S = 30.0
GCP_KMS_URL = "https://cloudkms.googleapis.com"
GCP_URL = "https://secretmanager.googleapis.com"
_WHOLE_STORE = {StoreCause.UNREACHABLE, StoreCause.TIMEOUT, StoreCause.TLS, StoreCause.SEALED, StoreCause.LOGIN}
"""Causes that every reference into the same store shares: the start asks once, not once for each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSettings:
    """How to reach the stores. `vault`: reads its settings when needed; None if they cannot be used."""

    vault: Callable[[], VaultSettings | None] = field(default=lambda: None, compare=False)
    poll_s: float = DEFAULT_POLL_S
    gcp_url: str = GCP_URL
    gcp_kms_url: str = GCP_KMS_URL
    allow_exec: bool = False


class SecretStores:
    """Opens stores and remembers the secrets read from them."""

    def __init__(self, settings: StoreSettings | None = None, clock: Callable[[], float] = time.time) -> None:
        """Connect to nothing yet."""
        self._settings = settings or StoreSettings()
        self._clock = clock
        self._vault: VaultClient | None = None
        self._stores: dict[Scheme, SecretStore] = {}
        self._secrets: dict[SecretReference, StoredSecret] = {}
        self._failed: dict[Scheme, StoreFailed] = {}

    def __eq__(self, other: object) -> bool:
        """Compare the settings."""
        return self._settings == other._settings if isinstance(other, SecretStores) else NotImplemented

    __hash__ = object.__hash__

    @property
    def poll_s(self) -> float:
        """How often new versions are looked for."""
        return self._settings.poll_s

    @property
    def gcp_kms_url(self) -> str:
        """Where Cloud KMS is."""
        return self._settings.gcp_kms_url

    def all(self) -> tuple[StoredSecret, ...]:
        """Return every secret that was read."""
        return tuple(self._secrets.values())

    def stored(self, reference: SecretReference) -> StoredSecret:
        """Return a secret, read from its store if it was not read before. Raises: SecretRefused."""
        if reference in self._secrets:
            return self._secrets[reference]
        if reference.scheme in self._failed:
            raise self._failed[reference.scheme]
        try:
            made = self._secrets[reference] = StoredSecret(reference, self.store(reference.scheme), self._clock)
        except StoreFailed as failure:
            if failure.cause in _WHOLE_STORE:
                self._failed[reference.scheme] = failure
            raise
        return made

    def needless_rights(self, one: StoredSecret) -> Sequence[str]:
        """Return what the login may do with a secret beyond reading it. Raises: SecretRefused."""
        return self.store(one.reference.scheme).needless_rights(one.reference)

    def store(self, scheme: Scheme) -> SecretStore:
        """Return the store of a scheme. Raises: StoreFailed."""
        if scheme not in self._stores:
            self._stores[scheme] = self._open(scheme)
        return self._stores[scheme]

    def vault(self) -> VaultClient:
        """Return the one client of Vault. Raises: StoreFailed."""
        if self._vault is None:
            settings = self._settings.vault()
            if settings is None:
                raise StoreFailed(
                    StoreCause.LOGIN, "cannot be read without usable settings of Vault; correct VAULT_ADDR"
                )
            self._vault = VaultClient(settings)
        return self._vault

    def _open(self, scheme: Scheme) -> SecretStore:
        # Each is imported where a reference names it: its library may be missing, and costs time and memory.
        if scheme is Scheme.VAULT:
            from gateway.keys.stores.vault_secrets import VaultSecrets

            return VaultSecrets(self.vault())
        if scheme is Scheme.VAULT_DATABASE:
            from gateway.keys.stores.vault_secrets import VaultDatabaseLogins

            return VaultDatabaseLogins(self.vault(), self._settings.poll_s)
        if scheme is Scheme.AWS_SECRET:
            from gateway.keys.stores.aws_secrets import AwsSecrets

            return AwsSecrets()
        if scheme is Scheme.GCP_SECRET:
            from gateway.keys.stores.gcp_secrets import GcpSecrets

            return GcpSecrets(self._settings.gcp_url)
        from gateway.keys.stores.command_secrets import CommandSecrets

        return CommandSecrets(allowed=self._settings.allow_exec)
