"""The guides of stores that sign: their references are read, and the commands of two guides are carried out."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from gateway.core.secret import Secret
from gateway.core.secret_reference import SIGNER_SCHEMES, parse_reference
from gateway.keys.own.secret_files import SecretSource
from gateway.keys.signers.pkcs11_uri import parse_pkcs11
from gateway.keys.signers.transit import TransitStore
from gateway.keys.stores.vault_client import VaultClient, VaultLogin, VaultSettings
from tests.vault_process import BUILD_WITHIN_S, VaultProcess
from tools.go_tools import NotBuilt

DOCS = Path(__file__).resolve().parents[2] / "docs"
GUIDES = sorted(DOCS.glob("signers-*.md"))


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.stem)
def test_the_reference_of_a_guide_is_read(guide: Path) -> None:
    """As the gateway reads it."""
    (text,) = re.findall(r"^PREDICTION_LAUNCH_KEY_REF=(\S+)$", guide.read_text(), re.MULTILINE)
    reference = parse_reference(text, SIGNER_SCHEMES)
    if reference.scheme.value == "pkcs11":
        parse_pkcs11(str(reference))


def test_there_is_a_guide_for_each_store() -> None:
    """Named in the overview."""
    assert {"signers-aws", "signers-gcp", "signers-pkcs11", "signers-transit"} == {one.stem for one in GUIDES}
    overview = (DOCS / "signers.md").read_text()
    assert all(f"({one.name})" in overview for one in GUIDES)


@pytest.mark.timeout(BUILD_WITHIN_S + 60)
def test_the_commands_of_the_transit_guide(tmp_path: Path) -> None:
    """They make a key that the guide's policy lets sign, and rotate it; each command is sent as Vault's client does."""
    guide = (DOCS / "signers-transit.md").read_text()
    try:
        vault = VaultProcess(tmp_path)
    except NotBuilt as reason:
        pytest.skip(str(reason))
    vault.start()
    try:
        commands = [line for block in re.findall(r"```sh\n(.*?)```", guide, re.DOTALL) for line in block.splitlines()]
        assert 3 == len(commands)
        for command in commands:
            match shlex.split(command):
                case ["vault", "secrets", "enable", engine]:
                    vault.mount(engine, engine)
                case ["vault", "write", "-f", path, *pairs]:
                    vault("POST", path, dict(pair.split("=", 1) for pair in pairs))
                case _:
                    raise AssertionError(command)
        (policy,) = re.findall(r"```hcl\n(.*?)```", guide, re.DOTALL)
        vault("POST", "sys/policies/acl/guide", {"policy": policy})
        source = SecretSource(setting="VAULT_TOKEN", value=Secret.from_text(vault.token("guide")))
        client = VaultClient(VaultSettings(address=vault.address, login=VaultLogin.TOKEN, token=source))
        store = TransitStore("vault-transit:transit/phoenix-launch", "transit", "phoenix-launch", client)
        first, second = store.versions()
        assert first.public.verify(b"x", store.sign(first.name, [b"x"])[0])
        assert second.public.verify(b"x", store.sign(second.name, [b"x"])[0])
        assert [] == store.needless_rights()
    finally:
        vault.close()
