"""Secrets in Google Cloud Secret Manager, by its REST API and google-auth, which finds the credentials.

`latest` names the version in force. Its time of creation needs a right that reading does not; without it, a version
that the process finds at its start counts as published long ago.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from gateway.core.secret_reference import SecretReference
from gateway.keys.own.secret_store import StoredVersion
from gateway.keys.stores.json_field import secret_of
from gateway.keys.stores.store_failure import StoreCause, StoreFailed, need_extra

_TIMEOUT_S = 4.0
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
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
        need_extra("gcp", "google.auth", "requests")
        import google.auth
        from google.auth import exceptions
        from google.auth.transport.requests import AuthorizedSession

        self._url = url.rstrip("/")
        try:
            credentials, _ = google.auth.default(scopes=[_SCOPE])
        except (exceptions.GoogleAuthError, OSError, ValueError):
            raise StoreFailed(
                StoreCause.LOGIN,
                "finds no Google credentials; set GOOGLE_APPLICATION_CREDENTIALS or give the pod an identity",
            ) from None
        self._session: Any = AuthorizedSession(credentials, refresh_timeout=_TIMEOUT_S)  # type: ignore[no-untyped-call]
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
        answer = self._send("post", f"{reference.path}:testIamPermissions", json={"permissions": list(_NEEDLESS)})
        held = answer.get("permissions", [])
        return [str(one) for one in held] if isinstance(held, list) else []

    def _version(self, reference: SecretReference, version: str) -> StoredVersion:
        path = f"{reference.path}/versions/{version}"
        answer = self._send("get", f"{path}:access")
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
                created = str(self._send("get", path).get("createTime"))
                self._created[path] = datetime.fromisoformat(created).timestamp()
            except (StoreFailed, ValueError):
                self._created[path] = None
        return self._created[path]

    def _send(self, method: str, path: str, **content: Any) -> Mapping[str, Any]:
        from google.auth import exceptions

        from gateway.keys.stores.http_failures import Failure, failure_of

        try:
            answer = self._session.request(
                method,
                f"{self._url}/v1/{path}",
                timeout=_TIMEOUT_S,
                max_allowed_time=_TIMEOUT_S * 2,
                allow_redirects=False,
                **content,
            )
        except exceptions.TransportError as error:
            if isinstance(error.__cause__, Failure):
                raise failure_of(error.__cause__, "the token endpoint of Google") from None
            raise StoreFailed(StoreCause.UNREACHABLE, "the token endpoint of Google cannot be reached") from None
        except exceptions.GoogleAuthError:
            raise StoreFailed(
                StoreCause.LOGIN, "Google refuses the credentials; check the key or the pod's identity"
            ) from None
        except Failure as error:
            raise failure_of(error, self._url) from None
        if answer.status_code in (401, 403):
            raise StoreFailed(
                StoreCause.FORBIDDEN, f"may not read {path}; grant roles/secretmanager.secretAccessor on it"
            )
        if answer.status_code in (400, 404):
            raise StoreFailed(StoreCause.NO_SUCH_PATH, f"there is no {path}, or it is disabled; check the name")
        try:
            found = answer.json() if answer.status_code == 200 else None
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise StoreFailed(
                StoreCause.UNUSABLE_ANSWER, f"{self._url} answers {answer.status_code}, which cannot be used"
            )
        return found
