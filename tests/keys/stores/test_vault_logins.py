"""Logins to a real Vault and a real OpenBao that need more than the store: a pod's token, a namespace."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.core.secret import Secret
from gateway.core.secret_reference import parse_reference
from gateway.keys.sources.secret_files import SecretSource
from gateway.keys.sources.store_failure import StoreCause, StoreFailed
from gateway.keys.stores.vault_client import VaultClient, VaultLogin, VaultSettings
from gateway.keys.stores.vault_secrets import VaultSecrets
from tests.kubernetes_api import KubernetesApi
from tests.openbao_process import OpenBaoProcess
from tests.vault_process import BUILD_WITHIN_S, VaultProcess

pytestmark = pytest.mark.timeout(BUILD_WITHIN_S + 120)


def value(client: VaultClient, text: str) -> str:
    return VaultSecrets(client).read(parse_reference(text), with_earlier=False)[-1].secret.reveal_text()


def test_a_pod_logs_in_with_its_service_account(vault: VaultProcess, tmp_path: Path) -> None:
    """Vault asks Kubernetes about the token. Each login reads the file again, because the platform renews it."""
    kubernetes = KubernetesApi(tmp_path)
    try:
        vault("POST", "sys/auth/kubernetes", {"type": "kubernetes"})
        about = {"kubernetes_host": kubernetes.url, "token_reviewer_jwt": kubernetes.reviewer}
        vault("POST", "auth/kubernetes/config", about | {"kubernetes_ca_cert": kubernetes.ca})
        role = {"bound_service_account_names": "gateway", "bound_service_account_namespaces": "shop"}
        vault("POST", "auth/kubernetes/role/gateway", role | {"token_policies": "reader", "token_ttl": "1h"})
        vault("POST", "secret/data/pod", {"data": {"key": "value"}})
        file = tmp_path / "token"

        def client() -> VaultClient:
            login = VaultLogin.KUBERNETES
            return VaultClient(VaultSettings(address=vault.address, login=login, role="gateway", jwt_file=file))

        first = kubernetes.token("gateway")
        file.write_text(first)
        ours = client()
        assert value(ours, "vault:secret/pod#key") == "value"

        own = ours.get("auth/token/lookup-self")["data"]["accessor"]
        kubernetes.forget(first)
        file.write_text(kubernetes.token("gateway"))
        vault("POST", "auth/token/revoke-accessor", {"accessor": own})
        assert value(ours, "vault:secret/pod#key") == "value"

        for wrong in (first, kubernetes.token("other"), kubernetes.token("gateway", "elsewhere")):
            file.write_text(wrong)
            with pytest.raises(StoreFailed) as failed:
                value(client(), "vault:secret/pod#key")
            assert failed.value.cause is StoreCause.LOGIN
            assert wrong not in str(failed.value)
    finally:
        kubernetes.close()


def test_a_namespace_is_used_for_login_and_secrets(vault: VaultProcess) -> None:
    """The same path in the root namespace is another secret, which this login cannot read."""
    if not isinstance(vault, OpenBaoProcess):
        pytest.skip("Vault has namespaces in its paid edition only")
    vault("POST", "sys/namespaces/team", {})
    vault("POST", "team/sys/mounts/secret", {"type": "kv", "options": {"version": "2"}})
    vault("POST", "team/sys/policies/acl/reader", {"policy": 'path "secret/data/*" { capabilities = ["read"] }'})
    vault("POST", "team/sys/auth/approle", {"type": "approle"})
    vault("POST", "team/auth/approle/role/gateway", {"token_policies": "reader"})
    role_id = vault("GET", "team/auth/approle/role/gateway/role-id")["data"]["role_id"]
    secret_id = vault("POST", "team/auth/approle/role/gateway/secret-id", {})["data"]["secret_id"]
    vault("POST", "team/secret/data/app", {"data": {"key": "of the team"}})
    vault("POST", "secret/data/app", {"data": {"key": "of the root"}})

    def client(namespace: str | None) -> VaultClient:
        return VaultClient(
            VaultSettings(
                address=vault.address,
                login=VaultLogin.APPROLE,
                namespace=namespace,
                role_id=role_id,
                secret_id=SecretSource(setting="VAULT_SECRET_ID", value=Secret.from_text(secret_id)),
            )
        )

    assert value(client("team"), "vault:secret/app#key") == "of the team"
    for other in (None, "nowhere"):
        with pytest.raises(StoreFailed) as failed:
            value(client(other), "vault:secret/app#key")
        assert failed.value.cause is StoreCause.LOGIN
