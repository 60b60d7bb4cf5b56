"""Keys of the transit engine of Vault or OpenBao. One request signs a whole batch with one version.

Source: the transit engine's HTTP API: read a key, sign data, and sys/capabilities-self.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from gateway.core.ed25519 import KeyRefused, VerifyingKey
from gateway.keys.signers.store import StoredKey
from gateway.keys.sources.store_failure import StoreCause, StoreFailed

_NEEDLESS = {
    "export/signing-key/{name}": ("read", "can export the private key"),
    "backup/{name}": ("read", "can back up the private key in plaintext"),
    "keys/{name}/config": ("update", "can change the key's settings"),
    "keys/{name}/rotate": ("update", "can rotate the key"),
    "keys/{name}": ("delete", "can delete the key"),
}
"""Paths below the engine, the capability that is too much there, and what it allows."""


class VaultRequests(Protocol):
    """Sends a request with a token that is valid: `keys.stores.vault_client.VaultClient`. Raises: StoreFailed."""

    def get(self, path: str) -> Mapping[str, Any]:
        """Return the answer to a read. `path`: below /v1/."""

    def post(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the answer to a write."""


class TransitStore:
    """One key of a transit engine. A KeyStore."""

    most_in_one_request = 100
    at_once = 4
    """While four requests are under way, further calls share the next one."""

    def __init__(self, reference: str, mount: str, name: str, vault: VaultRequests) -> None:
        """`mount`: the engine's path, usually `transit`."""
        self.reference = reference
        self._mount = mount
        self._name = name
        self._vault = vault

    def versions(self) -> list[StoredKey]:
        """Read the key. Raises: StoreFailed."""
        data = _data(self._vault.get(f"{self._mount}/keys/{self._name}"))
        if data.get("type") != "ed25519" or data.get("derived"):
            raise StoreFailed(StoreCause.WRONG_FIELD, "its key is not a plain ed25519 key; create it with type=ed25519")
        try:
            found = [_stored(number, version) for number, version in data["keys"].items()]
        except (KeyError, TypeError, ValueError, AttributeError, KeyRefused):
            raise StoreFailed(StoreCause.UNUSABLE_ANSWER, "its answer about the key cannot be read") from None
        if not found:
            raise StoreFailed(StoreCause.NO_SUCH_PATH, "its key has no version")
        return found

    def sign(self, version: str, messages: Sequence[bytes]) -> list[bytes]:
        """Sign all messages in one request. Raises: StoreFailed."""
        body = {
            "key_version": int(version),
            "batch_input": [{"input": base64.b64encode(one).decode("ascii")} for one in messages],
        }
        data = _data(self._vault.post(f"{self._mount}/sign/{self._name}", body))
        prefix = f"vault:v{version}:"
        try:
            texts = [one["signature"] for one in data["batch_results"]]
            if not all(text.startswith(prefix) for text in texts):
                raise StoreFailed(StoreCause.UNUSABLE_ANSWER, "it signed with another version than asked for")
            return [base64.b64decode(text[len(prefix) :], validate=True) for text in texts]
        except (KeyError, TypeError, AttributeError, binascii.Error):
            raise StoreFailed(StoreCause.UNUSABLE_ANSWER, "it did not sign all messages; see its log") from None

    def needless_rights(self) -> list[str]:
        """Ask what the token may do. Raises: StoreFailed."""
        paths = {f"{self._mount}/{path.format(name=self._name)}": rule for path, rule in _NEEDLESS.items()}
        answer = self._vault.post("sys/capabilities-self", {"paths": list(paths)})
        held = answer.get("data") or answer
        wrong = []
        for path, (capability, what) in paths.items():
            capabilities = held.get(path, [])
            if capability in capabilities or "root" in capabilities or "sudo" in capabilities:
                wrong.append(what)
        data = _data(self._vault.get(f"{self._mount}/keys/{self._name}"))
        if data.get("exportable") or data.get("allow_plaintext_backup"):
            wrong.append("the key is exportable; make a key that is not")
        return wrong


def _stored(number: str, version: Mapping[str, Any]) -> StoredKey:
    return StoredKey(
        name=str(int(number)),
        public=VerifyingKey(base64.b64decode(version["public_key"], validate=True)),
        order=float(number),
        created_at=datetime.fromisoformat(version["creation_time"]).timestamp(),
    )


def _data(answer: Mapping[str, Any]) -> dict[str, Any]:
    data = answer.get("data")
    if not isinstance(data, dict):
        raise StoreFailed(StoreCause.UNUSABLE_ANSWER, "its answer holds no data")
    return data
