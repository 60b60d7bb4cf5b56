"""Secrets in Google Cloud Secret Manager, by its REST API and google-auth, which finds the credentials.

`latest` names the version in force. Its time of creation needs a right that reading does not; without it, a version
that the process finds at its start counts as published long ago.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from datetime import datetime

from gateway.core.secret_reference import SecretReference
from gateway.keys.sources.secret_store import StoredVersion
from gateway.keys.sources.store_failure import StoreCause, StoreFailed
from gateway.keys.stores.google_api import GoogleApi
from gateway.keys.stores.json_field import secret_of

_TIMEOUT_S = 8.0
_CONNECTIONS = 10
_FORBIDDEN = StoreCause.FORBIDDEN, "does not allow reading {path}; grant roles/secretmanager.secretAccessor on it"
_NO_SUCH_PATH = StoreCause.NO_SUCH_PATH, "has no {path}, or it is disabled; check the name"
_CAUSES = {400: _NO_SUCH_PATH, 401: _FORBIDDEN, 403: _FORBIDDEN, 404: _NO_SUCH_PATH}
_EARLIER = 4
_NEEDLESS = (
    "secretmanager.versions.add",
    "secretmanager.versions.destroy",
    "secretmanager.secrets.update",
    "secretmanager.secrets.delete",
    "secretmanager.secrets.setIamPolicy",
)


class GcpSecrets:
    """Reads `gcp-sm:projects/PROJECT/secrets/NAME` and its field after `#`."""

    def __init__(self, url: str) -> None:
        """Find the credentials. Raises: StoreFailed."""
        self._api = GoogleApi(url, timeout_s=_TIMEOUT_S, connections=_CONNECTIONS, causes=_CAUSES)
        self._created: dict[str, float | None] = {}

    def read(self, reference: SecretReference, *, with_earlier: bool) -> list[StoredVersion]:
        """Return the version in force, as the last one. Raises: StoreFailed, SecretRefused."""
        found = [self._version(reference, "latest")]
        newest = found[0].name
        for number in (
            range(int(newest) - 1, max(0, int(newest) - 1 - _EARLIER), -1) if with_earlier and newest.isdigit() else ()
        ):
            try:
                found.insert(0, self._version(reference, str(number)))
            except StoreFailed as failure:
                if failure.cause not in (StoreCause.NO_SUCH_PATH, StoreCause.FORBIDDEN):
                    raise  # a disabled or destroyed one is left out
        return found

    def needless_rights(self, reference: SecretReference) -> list[str]:
        """Return the permissions on the secret beyond reading it. Raises: StoreFailed."""
        answer = self._api.request("POST", f"{reference.path}:testIamPermissions", {"permissions": list(_NEEDLESS)})
        held = answer.get("permissions", [])
        return [str(one) for one in held] if isinstance(held, list) else []

    def _version(self, reference: SecretReference, version: str) -> StoredVersion:
        path = f"{reference.path}/versions/{version}"
        answer = self._api.request("GET", f"{path}:access")
        payload, name = answer.get("payload"), str(answer.get("name", "")).rpartition("/")[2]
        try:
            content = base64.b64decode(payload["data"], validate=True) if isinstance(payload, Mapping) else b""
        except (KeyError, TypeError, binascii.Error):
            content = b""
        if not content or not name:
            raise StoreFailed(StoreCause.UNUSABLE_ANSWER, f"{path} is answered without a value")
        return StoredVersion(
            secret=secret_of(content, reference), name=name, created_at=self._created_at(reference, name)
        )

    def _created_at(self, reference: SecretReference, name: str) -> float | None:
        path = f"{reference.path}/versions/{name}"
        if path not in self._created:
            try:
                created = str(self._api.request("GET", path).get("createTime"))
                self._created[path] = datetime.fromisoformat(created).timestamp()
            except (StoreFailed, ValueError):
                self._created[path] = None
        return self._created[path]
