"""Reads how to reach the stores of secrets. Vault's settings are read when a reference needs them."""

from __future__ import annotations

from urllib.parse import urlsplit

from gateway.config.model import is_loopback
from gateway.config.values import Reader
from gateway.keys.stores.secret_stores import DEFAULT_POLL_S, GCP_KMS_URL, GCP_URL, SecretStores, StoreSettings
from gateway.keys.stores.vault_client import VaultLogin, VaultSettings


def read_stores(reader: Reader) -> SecretStores:
    """Return the stores, not connected yet. The reader collects the faults."""
    return SecretStores(
        StoreSettings(
            vault=lambda: read_vault(reader),
            poll_s=reader.seconds("GATEWAY_SECRET_POLL", DEFAULT_POLL_S),
            gcp_url=reader.base_url("GCP_SECRET_MANAGER_URL", default=GCP_URL),
            gcp_kms_url=reader.base_url("GCP_KMS_URL", default=GCP_KMS_URL),
            allow_exec=reader.flag("GATEWAY_ALLOW_EXEC", False),
        )
    )


def read_vault(reader: Reader) -> VaultSettings | None:
    """Return how to reach Vault; None if the settings cannot be used, which are faults then."""
    before = len(reader.faults.found)
    address = (reader.optional_text("VAULT_ADDR") or "").rstrip("/")
    if not address:
        reader.fault("VAULT_ADDR", "is missing", "set it to the https:// address of Vault or OpenBao")
    elif (parts := urlsplit(address)).scheme not in ("http", "https") or not parts.hostname or parts.username:
        reader.fault("VAULT_ADDR", "is not an https:// address", "write it as https://vault.internal:8200")
    elif parts.scheme == "http" and not is_loopback(parts.hostname):
        reader.fault("VAULT_ADDR", "is plaintext (http://) to another machine", "use https://")
    login = reader.choice("VAULT_AUTH", VaultLogin.TOKEN, VaultLogin)
    made = VaultSettings(
        address=address,
        login=login,
        namespace=reader.optional_text("VAULT_NAMESPACE"),
        ca_file=reader.file("VAULT_CACERT"),
        mount=(reader.optional_text("VAULT_AUTH_MOUNT") or "").strip("/"),
        role=reader.optional_text("VAULT_ROLE"),
        token=reader.secret_source("VAULT_TOKEN"),
        role_id=reader.optional_text("VAULT_ROLE_ID"),
        secret_id=reader.secret_source("VAULT_SECRET_ID"),
        jwt_file=reader.file("VAULT_JWT_FILE"),
    )
    needed = {
        VaultLogin.TOKEN: (("VAULT_TOKEN", made.token),),
        VaultLogin.APPROLE: (("VAULT_ROLE_ID", made.role_id), ("VAULT_SECRET_ID", made.secret_id)),
        VaultLogin.KUBERNETES: (("VAULT_ROLE", made.role),),
        VaultLogin.JWT: (("VAULT_ROLE", made.role), ("VAULT_JWT_FILE", made.jwt_file)),
    }
    for name, value in needed[login]:
        if value is None and not reader.given(name):
            reader.fault(name, f"is missing for the login by {login.value}", "set it, or another VAULT_AUTH")
    return made if len(reader.faults.found) == before else None
