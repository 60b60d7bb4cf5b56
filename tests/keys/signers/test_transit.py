"""Keys of the transit engine of real servers: one request per batch, dated versions, and every way to fail."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gateway.core.secret import Secret
from gateway.core.secret_reference import SIGNER_SCHEMES, parse_reference
from gateway.keys.signers.open_store import open_key_store
from gateway.keys.signers.store import KeyStore
from gateway.keys.sources.secret_files import SecretSource
from gateway.keys.sources.store_failure import StoreCause, StoreFailed
from gateway.keys.stores.vault_client import VaultClient, VaultLogin, VaultSettings
from tests.openbao_process import SERVER_PARAMS, running
from tests.vault_process import BUILD_WITHIN_S, VaultProcess

pytestmark = pytest.mark.timeout(BUILD_WITHIN_S + 120)
RIGHTS = {"transit/keys/launch": ["read"], "transit/sign/launch": ["update"]}


@pytest.fixture(scope="module", params=SERVER_PARAMS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VaultProcess]:
    """A server with the engine, and a policy for the key `launch`."""
    with running(request.param, tmp_path_factory.mktemp("vault")) as made:
        made.mount("transit", "transit")
        made.policy("signer", RIGHTS)
        yield made


@pytest.fixture
def vault(server: VaultProcess) -> VaultProcess:
    """With a fresh key."""
    server("POST", "transit/keys/launch", {"type": "ed25519"})
    server("POST", "transit/keys/launch/config", {"deletion_allowed": True})
    server("DELETE", "transit/keys/launch")
    server("POST", "transit/keys/launch", {"type": "ed25519"})
    return server


def store(vault: VaultProcess, *, name: str = "launch", token: str | None = None) -> KeyStore:
    source = SecretSource(setting="VAULT_TOKEN", value=Secret.from_text(token or vault.token("signer")))
    client = VaultClient(VaultSettings(address=vault.address, login=VaultLogin.TOKEN, token=source))
    return open_key_store(parse_reference(f"vault-transit:transit/{name}", SIGNER_SCHEMES), lambda: client)


def test_a_batch_is_one_request(vault: VaultProcess) -> None:
    """Each signature verifies by the public half that Vault shows."""
    signer = store(vault)
    (one,) = signer.versions()
    messages = [b"message %d" % number for number in range(100)]
    signatures = signer.sign(one.name, messages)
    assert all(one.public.verify(message, signature) for message, signature in zip(messages, signatures, strict=True))


def test_versions_have_their_times_and_sign_with_their_own_key(vault: VaultProcess) -> None:
    """An older version signs on after a rotation: the newer one is only announced."""
    signer = store(vault)
    vault("POST", "transit/keys/launch/rotate")
    first, second = signer.versions()
    assert ("1", "2") == (first.name, second.name)
    assert first.created_at is not None
    assert second.created_at is not None
    assert first.created_at <= second.created_at
    (signature,) = signer.sign("1", [b"x"])
    assert first.public.verify(b"x", signature)
    assert not second.public.verify(b"x", signature)


def test_a_key_that_is_missing_or_of_another_kind_is_named(vault: VaultProcess) -> None:
    """Before anything is signed."""
    vault("POST", "transit/keys/other", {"type": "ecdsa-p256"})
    with pytest.raises(StoreFailed, match="type=ed25519"):
        store(vault, name="other", token=vault.root_token).versions()
    with pytest.raises(StoreFailed) as failed:
        store(vault, name="nothing", token=vault.root_token).versions()
    assert StoreCause.NO_SUCH_PATH is failed.value.cause


def test_a_token_without_the_right_to_sign_is_told_so(vault: VaultProcess) -> None:
    """Reading the key is one right, signing another."""
    vault.policy("looker", {"transit/keys/launch": ["read"]})
    signer = store(vault, token=vault.token("looker"))
    assert 1 == len(signer.versions())
    with pytest.raises(StoreFailed) as failed:
        signer.sign("1", [b"x"])
    assert StoreCause.FORBIDDEN is failed.value.cause


def test_a_version_that_may_not_sign_any_more_is_refused(vault: VaultProcess) -> None:
    """No other version signs in its place."""
    vault("POST", "transit/keys/launch/rotate")
    signer = store(vault)
    vault("POST", "transit/keys/launch/config", {"min_encryption_version": 2})
    with pytest.raises(StoreFailed):
        signer.sign("1", [b"x"])


def test_a_sealed_store_is_named(vault: VaultProcess) -> None:
    """And signs again when it is unsealed."""
    signer = store(vault)
    (one,) = signer.versions()
    vault.seal()
    try:
        with pytest.raises(StoreFailed) as failed:
            signer.sign(one.name, [b"x"])
        assert StoreCause.SEALED is failed.value.cause
    finally:
        vault.unseal()
    assert one.public.verify(b"x", signer.sign(one.name, [b"x"])[0])


def test_needless_rights(vault: VaultProcess) -> None:
    """The policy of the guide has none; root has all; an exportable key is reported too."""
    assert [] == store(vault).needless_rights()
    everything = store(vault, token=vault.root_token).needless_rights()
    assert {"can export the private key", "can rotate the key", "can delete the key"} <= set(everything)
    vault("POST", "transit/keys/launch/config", {"exportable": True})
    assert ["the key is exportable; make a key that is not"] == store(vault).needless_rights()
