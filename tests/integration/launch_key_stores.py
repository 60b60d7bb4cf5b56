"""Stores of launch keys: Vault's transit engine, OpenBao, AWS KMS, Google Cloud KMS, SoftHSM.

Vault, OpenBao and SoftHSM are real. AWS and Google are emulators of the published APIs before the real clients.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.kms_emulators import AwsKms, GcpKms, KmsEmulator
from tests.openbao_process import SERVERS
from tests.sandbox_process import SandboxProcess
from tests.softhsm import PIN, SO_PIN, SoftHsm
from tools.go_tools import NotBuilt

ROTATIONS = 20


@dataclass
class Store:
    """A store of launch keys. `add` makes a version and returns its public half; `faults`: begin and end of each."""

    reference: str
    environ: dict[str, str]
    add: Callable[[], bytes]
    first: bytes
    faults: dict[str, tuple[Callable[[], object], Callable[[], object]]] = field(default_factory=dict)
    planted: list[str] = field(default_factory=list)
    close: Callable[[], object] = lambda: None


def transit(folder: Path, kind: str = "vault") -> Store:
    """A key of a real Vault or OpenBao, with the policy of the guide."""
    try:
        vault = SERVERS[kind](folder)
    except NotBuilt as reason:
        pytest.skip(str(reason))
    vault.start()
    vault.mount("transit", "transit")
    vault.policy("signer", {"transit/keys/launch": ["read"], "transit/sign/launch": ["update"]})
    vault("POST", "transit/keys/launch", {"type": "ed25519"})
    token = vault.token("signer")

    def newest() -> bytes:
        keys = vault("GET", "transit/keys/launch")["data"]["keys"]
        return base64.b64decode(keys[str(max(map(int, keys)))]["public_key"])

    def add() -> bytes:
        vault("POST", "transit/keys/launch/rotate")
        return newest()

    return Store(
        reference="vault-transit:transit/launch",
        environ={"VAULT_ADDR": vault.address, "VAULT_TOKEN": token},
        add=add,
        first=newest(),
        faults={"sealed": (vault.seal, vault.unseal), "killed": (vault.kill, vault.start)},
        planted=[token],
        close=vault.close,
    )


def openbao(folder: Path) -> Store:
    """As `transit`."""
    return transit(folder, "openbao")


def _emulator_faults(emulator: KmsEmulator) -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    def begin(fault: str) -> Callable[[], object]:
        return lambda: setattr(emulator, "fault", fault)

    faults = {one: (begin(one), begin("")) for one in ("slow", "garbage", "not_json", "wrong_key", "denied")}
    return faults | {"killed": (emulator.stop, emulator.start)}


def aws(folder: Path) -> Store:
    """Keys below an alias of the emulator."""
    emulator = AwsKms().start()
    count = iter(range(1, 1000))

    def add() -> bytes:
        name = time.strftime("%Y-%m-%dT%H-%M-%SZ", time.gmtime(time.time() - 1000 + next(count)))
        return emulator.keys[emulator.create_key(f"alias/launch/{name}")].public_key().public_bytes_raw()

    first = emulator.keys[emulator.create_key("alias/launch", time.time() - 3600)].public_key().public_bytes_raw()
    return Store(
        reference="aws-kms:alias/launch",
        environ={
            "AWS_ACCESS_KEY_ID": "AKIAPLANTED",
            "AWS_SECRET_ACCESS_KEY": "planted-aws-secret",
            "AWS_DEFAULT_REGION": "eu-central-1",
            "AWS_ENDPOINT_URL_KMS": emulator.url,
        },
        add=add,
        first=first,
        faults=_emulator_faults(emulator),
        planted=["planted-aws-secret"],
        close=emulator.stop,
    )


def gcp(folder: Path) -> Store:
    """A key of the emulator, with the file of a service account."""
    emulator = GcpKms().start()
    emulator.create_version(time.time() - 3600)
    account = emulator.service_account()
    file = folder / "account.json"
    file.touch(mode=0o600)
    file.write_text(json.dumps(account))

    def add() -> bytes:
        return emulator.keys[emulator.create_version()].public_key().public_bytes_raw()

    return Store(
        reference=f"gcp-kms:{emulator.key_name}",
        environ={"GOOGLE_APPLICATION_CREDENTIALS": str(file), "GCP_KMS_URL": emulator.url},
        add=add,
        first=emulator.keys["1"].public_key().public_bytes_raw(),
        faults=_emulator_faults(emulator),
        planted=["ya29.planted", account["private_key"].splitlines()[1]],
        close=emulator.stop,
    )


def softhsm(folder: Path) -> Store:
    """A key of a token, and the file of its PIN. The next keys get the label of a version when it is their turn.

    They are made before the gateway looks: a process that looks while another one makes an object may never see it in
    SoftHSM's files.
    """
    token = SoftHsm(folder).token("phoenix")
    first, *spare = token.make_keys("launch", *(f"spare-{number}" for number in range(ROTATIONS)))
    pin_file = folder / "pin"
    pin_file.touch(mode=0o600)
    pin_file.write_text(PIN)
    count = iter(range(ROTATIONS))

    def add() -> bytes:
        number = next(count)
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 1000 + number))
        token.rename(f"spare-{number}", f"launch@{at}")
        return spare[number]

    return Store(
        reference=token.reference(pin_file, "launch"),
        environ=dict(token.hsm.environ),
        add=add,
        first=first,
        planted=[PIN, SO_PIN],
    )


def register(sandbox: SandboxProcess, public: bytes) -> None:
    """Tell Phoenix a public half."""
    pem = Ed25519PublicKey.from_public_bytes(public).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    operator = {"operator_code": "acme", "environment": "sandbox"}
    sandbox.control("POST", "/credentials/add", {**operator, "public_pem": pem.decode()})
