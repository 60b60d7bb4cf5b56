"""Keys of Google Cloud KMS (algorithm EC_SIGN_ED25519). Each version has its state and its time of creation.

Source: the REST API v1 of Cloud KMS: cryptoKeyVersions.list, getPublicKey, asymmetricSign, testIamPermissions.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from gateway.core.ed25519 import KeyRefused, VerifyingKey, load_verifying_key
from gateway.keys.signers.store import StoredKey
from gateway.keys.sources.store_failure import StoreCause, StoreFailed

NAME = re.compile(r"projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+")
_ALGORITHM = "EC_SIGN_ED25519"
_MOST_PAGES = 100
_NEEDLESS = {
    "cloudkms.cryptoKeys.setIamPolicy": "can give others rights to the key",
    "cloudkms.cryptoKeyVersions.destroy": "can destroy versions",
    "cloudkms.cryptoKeyVersions.create": "can create versions",
    "cloudkms.cryptoKeyVersions.update": "can disable versions",
}


class GoogleRequests(Protocol):
    """Sends a request with a token that is valid. It blocks; several threads may use it. Raises: StoreFailed."""

    def request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the JSON object of the answer. `path`: below /v1/."""


class GcpKmsStore:
    """One key of Cloud KMS. A KeyStore."""

    most_in_one_request = 1
    at_once = 16
    """KMS answers in some ten milliseconds, and has no request for several messages."""

    def __init__(self, reference: str, key: str, google: GoogleRequests) -> None:
        """`key`: projects/.../cryptoKeys/NAME."""
        self.reference = reference
        self._key = key
        self._google = google
        self._public: dict[str, VerifyingKey] = {}

    def versions(self) -> list[StoredKey]:
        """List the enabled versions and read the public half of each. Raises: StoreFailed."""
        found: list[StoredKey] = []
        page_token = ""
        for _ in range(_MOST_PAGES):
            more = f"&pageToken={page_token}" if page_token else ""
            page = self._google.request("GET", f"{self._key}/cryptoKeyVersions?pageSize=100{more}")
            try:
                found += [self._stored(one) for one in page.get("cryptoKeyVersions", ()) if one["state"] == "ENABLED"]
                page_token = page.get("nextPageToken", "")
            except StoreFailed:
                raise  # a ValueError too
            except (KeyError, TypeError, ValueError, AttributeError, KeyRefused):
                raise StoreFailed(StoreCause.UNUSABLE_ANSWER, "its answer about the key cannot be read") from None
            if not page_token:
                break
        if not found:
            raise StoreFailed(StoreCause.NO_SUCH_PATH, "its key has no enabled version")
        return found

    def sign(self, version: str, messages: Sequence[bytes]) -> list[bytes]:
        """Sign one after another. Raises: StoreFailed."""
        signatures = []
        for one in messages:
            body = {"data": base64.b64encode(one).decode("ascii")}
            answer = self._google.request("POST", f"{self._key}/cryptoKeyVersions/{version}:asymmetricSign", body)
            try:
                signatures.append(base64.b64decode(answer["signature"], validate=True))
            except (KeyError, TypeError, binascii.Error):
                raise StoreFailed(StoreCause.UNUSABLE_ANSWER, "its answer holds no signature") from None
        return signatures

    def needless_rights(self) -> list[str]:
        """Ask which rights to the key the caller has. Raises: StoreFailed."""
        answer = self._google.request("POST", f"{self._key}:testIamPermissions", {"permissions": list(_NEEDLESS)})
        held = answer.get("permissions", ())
        return [what for permission, what in _NEEDLESS.items() if permission in held]

    def _stored(self, version: Mapping[str, Any]) -> StoredKey:
        number = str(int(version["name"].rpartition("/")[2]))
        if version["algorithm"] != _ALGORITHM:
            raise StoreFailed(
                StoreCause.WRONG_FIELD, f"its key cannot sign with Ed25519; create it with the algorithm {_ALGORITHM}"
            )
        public = self._public.get(number)
        if public is None:
            answer = self._google.request("GET", f"{self._key}/cryptoKeyVersions/{number}/publicKey")
            public = self._public[number] = load_verifying_key(answer["pem"].encode("ascii"))
        return StoredKey(
            name=number,
            public=public,
            order=float(number),
            created_at=datetime.fromisoformat(version["createTime"]).timestamp(),
        )
