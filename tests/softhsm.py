"""SoftHSM 2 of the operating system: tokens in a folder of a test, and keys in them, made as an operator would.

One process loads SoftHSM once, with one folder, and sees the tokens that there are at that time. So everything that is
done to a token is done by another process, and tests of one process share tokens.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_PLACES = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
)
PIN, SO_PIN = "planted-pin-4711", "planted-so-pin-0815"
_WORK = """
import sys
import pkcs11
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass
module, token, pin, act, label, *flags = sys.argv[1:]
with pkcs11.lib(module).get_token(token_label=token).open(rw=True, user_pin=pin) as session:
    if act == "make":
        curve = bytes.fromhex("06032b6570")  # edwards25519, as an object identifier
        made = session.create_domain_parameters(KeyType.EC_EDWARDS, {Attribute.EC_PARAMS: curve}, local=True)
        private = {Attribute.EXTRACTABLE: True, Attribute.SENSITIVE: False} if "open" in flags else {}
        for one in label.split():
            public, _ = made.generate_keypair(
                mechanism=Mechanism.EC_EDWARDS_KEY_PAIR_GEN, store=True, label=one, private_template=private
            )
            print(bytes(public[Attribute.EC_POINT])[-32:].hex())
    elif act == "rename":
        for kind in (ObjectClass.PRIVATE_KEY, ObjectClass.PUBLIC_KEY):
            for one in list(session.get_objects({Attribute.CLASS: kind, Attribute.LABEL: label})):
                one[Attribute.LABEL] = flags[0]
    else:
        kinds = [ObjectClass.PRIVATE_KEY] if "private" in flags else [ObjectClass.PRIVATE_KEY, ObjectClass.PUBLIC_KEY]
        for kind in kinds:
            for one in list(session.get_objects({Attribute.CLASS: kind, Attribute.LABEL: label})):
                one.destroy()
"""


def softhsm_module() -> Path:
    """Return the module, or skip the test."""
    found = next((Path(one) for one in _PLACES if Path(one).exists()), None)
    if found is None or shutil.which("softhsm2-util") is None:
        pytest.skip("SoftHSM 2 is not on this machine; `make test` installs it")
    return found


class SoftHsm:
    """The folder of tokens. `environ` is what a process needs to see them."""

    def __init__(self, folder: Path) -> None:
        self.module = softhsm_module()
        self.tokens = folder / "tokens"
        self.tokens.mkdir(parents=True, exist_ok=True)
        config = folder / "softhsm2.conf"
        config.write_text(f"directories.tokendir = {self.tokens}\nobjectstore.backend = file\nlog.level = ERROR\n")
        self.environ = {"SOFTHSM2_CONF": str(config)}

    def token(self, label: str) -> Token:
        """Make a token."""
        self.util("--init-token", "--free", "--label", label, "--pin", PIN, "--so-pin", SO_PIN)
        return Token(self, label)

    def util(self, *arguments: str) -> None:
        """Run softhsm2-util."""
        subprocess.run(["softhsm2-util", *arguments], env=os.environ | self.environ, check=True, capture_output=True)


class Token:
    """One token."""

    def __init__(self, hsm: SoftHsm, label: str) -> None:
        self.hsm = hsm
        self.label = label

    def make_key(self, label: str, *flags: str) -> bytes:
        """Make a key pair; return the 32 bytes of its public half."""
        return bytes.fromhex(self._work("make", label, *flags))

    def make_keys(self, *labels: str) -> list[bytes]:
        """Make several key pairs; return the public halves."""
        return [bytes.fromhex(one) for one in self._work("make", " ".join(labels)).split()]

    def rename(self, label: str, new: str) -> None:
        """Give both halves of a key another label."""
        self._work("rename", label, new)

    def destroy(self, label: str, *flags: str) -> None:
        """Destroy the objects with this label."""
        self._work("destroy", label, *flags)

    def delete(self) -> None:
        """Delete the whole token."""
        self.hsm.util("--delete-token", "--token", self.label)

    def reference(self, pin_file: Path, name: str) -> str:
        """Return the reference of a key."""
        return f"pkcs11:token={self.label};object={name}?module-path={self.hsm.module}&pin-source={pin_file}"

    def _work(self, *arguments: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", _WORK, str(self.hsm.module), self.label, PIN, *arguments],
            env=os.environ | self.hsm.environ,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
