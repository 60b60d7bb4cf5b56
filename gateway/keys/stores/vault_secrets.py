"""Secrets in the KV engine of Vault or OpenBao, version 1 or 2, and logins from its database engine.

Which version of KV a mount has is asked once. A version that was deleted is not in force: the one before it is.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

from gateway.core.secret import Secret
from gateway.core.secret_reference import SecretReference
from gateway.core.secret_text import secret_meant
from gateway.keys.sources.secret_store import StoredVersion
from gateway.keys.sources.store_failure import StoreCause, StoreFailed
from gateway.keys.stores.vault_client import RequestRefused, VaultClient

_NO_ANSWER = frozenset({StoreCause.UNREACHABLE, StoreCause.TIMEOUT, StoreCause.SEALED, StoreCause.TLS})
_EARLIER = 4
"""How many versions before the one in force are read at the start: they may still be published or retiring."""


class VaultSecrets:
    """Reads `vault:MOUNT/PATH#FIELD`."""

    def __init__(self, client: VaultClient) -> None:
        """Read by this client."""
        self._client = client
        self._is_second: dict[str, bool] = {}

    def read(self, reference: SecretReference, *, with_earlier: bool) -> list[StoredVersion]:
        """Return the version in force, as the last one. Raises: StoreFailed, SecretRefused."""
        mount, _, path = reference.path.partition("/")
        if not self._has_versions(mount, path):
            data = self._client.get(reference.path).get("data")
            return [StoredVersion(secret=_field(data, reference))]
        newest = self._version(f"{mount}/data/{path}", reference)
        found = [newest] if isinstance(newest, StoredVersion) else []
        number = int(newest.name) if isinstance(newest, StoredVersion) else newest
        for earlier in range(number - 1, max(0, number - 1 - _EARLIER), -1):
            if found and not with_earlier:
                break
            one = self._version(f"{mount}/data/{path}", reference, earlier)
            if isinstance(one, StoredVersion):
                found.insert(0, one)
        if not found:
            raise StoreFailed(StoreCause.NO_SUCH_PATH, f"every version of {path} is deleted; write a new one")
        return found

    def needless_rights(self, reference: SecretReference) -> list[str]:
        """Return the capabilities beyond reading. Raises: StoreFailed."""
        mount, _, path = reference.path.partition("/")
        if not self._has_versions(mount, path):
            return _needless(self._client, {reference.path: {"read"}, _folder(reference.path): set()})
        data, folder = f"{mount}/data/{path}", _folder(f"{mount}/metadata/{path}")
        return _needless(self._client, {data: {"read"}, folder: {"read"}})

    def _has_versions(self, mount: str, path: str) -> bool:
        """Tell whether the mount is KV v2. A token that may read a secret below it may ask this."""
        if mount not in self._is_second:
            data = self._client.get(f"sys/internal/ui/mounts/{mount}/{path}").get("data")
            options = data.get("options") if isinstance(data, dict) else None
            self._is_second[mount] = isinstance(options, dict) and options.get("version") == "2"
        return self._is_second[mount]

    def _version(self, path: str, reference: SecretReference, number: int | None = None) -> StoredVersion | int:
        """Return a version, or only its number if it is deleted. Raises: StoreFailed."""
        answer = self._client.get(path, **({} if number is None else {"version": str(number)}))
        data = answer.get("data")
        about = data.get("metadata") if isinstance(data, dict) else None
        if not isinstance(data, dict) or not isinstance(about, dict) or not isinstance(about.get("version"), int):
            raise StoreFailed(StoreCause.UNUSABLE_ANSWER, f"{path} does not answer as KV v2 does; check the mount")
        if data.get("data") is None:  # deleted or destroyed; `deletion_time` may be yet to come, by Vault's clock
            return int(about["version"])
        return StoredVersion(
            secret=_field(data.get("data"), reference),
            name=str(about["version"]),
            created_at=_seconds(about.get("created_time")),
        )


class VaultDatabaseLogins:
    """Reads `vault-db:MOUNT/creds/ROLE#URL`: a short-lived database user, written into the URL.

    Every read looks whether the lease still exists; it is renewed after half of its time. A new user is taken where the
    lease is gone or cannot become longer, and where the token that took it was replaced: Vault revokes what it gave to
    a token when that token ends. The old user ends with its lease.
    """

    def __init__(self, client: VaultClient, poll_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Args: `poll_s`: how often `read` is called."""
        self._client = client
        self._poll_s = poll_s
        self._clock = clock
        self._lock = threading.Lock()
        self._leases: dict[SecretReference, _Lease] = {}
        self._may_look = True

    def read(self, reference: SecretReference, *, with_earlier: bool) -> list[StoredVersion]:
        """Return the URL with the user in force. Raises: StoreFailed, SecretRefused."""
        with self._lock:
            now = self._clock()
            lease = self._leases.get(reference)
            if lease is None or not self._holds(lease, now):
                self._leases[reference] = lease = self._new(reference, now)
            return [StoredVersion(secret=lease.url)]

    def needless_rights(self, reference: SecretReference) -> list[str]:
        """Return the capabilities beyond taking a login. Raises: StoreFailed."""
        role = reference.path.replace("/creds/", "/roles/", 1)
        return _needless(self._client, {reference.path: {"read"}, role: set()})

    def _holds(self, lease: _Lease, now: float) -> bool:
        """Renew the lease where that is due; False if a new user is needed. Raises: StoreFailed if Vault cannot say."""
        if self._is_gone(lease) or self._client.log_in() != lease.token:
            return False
        return not lease.is_due(now, self._poll_s) or self._renewed(lease, now)

    def _is_gone(self, lease: _Lease) -> bool:
        """Tell whether the lease was revoked or has ended. Where Vault does not say, our count of time decides.

        Its default policy allows to ask. A refusal ends the asking, because each makes the client log in again. Raises:
        StoreFailed if Vault does not answer at all.
        """
        if not self._may_look:
            return False
        try:
            found = self._client.post("sys/leases/lookup", {"lease_id": lease.lease_id}).get("data")
        except RequestRefused:
            return True
        except StoreFailed as failure:
            if failure.cause in _NO_ANSWER:
                raise
            self._may_look = failure.cause is not StoreCause.FORBIDDEN
            return False
        left = found.get("ttl") if isinstance(found, dict) else None
        return isinstance(left, int) and left <= 0

    def _new(self, reference: SecretReference, now: float) -> _Lease:
        token = self._client.log_in()
        answer = self._client.get(reference.path)
        data = answer.get("data")
        user, password = (data.get("username"), data.get("password")) if isinstance(data, dict) else (None, None)
        lasts = answer.get("lease_duration")
        if not isinstance(user, str) or not isinstance(password, str) or not isinstance(lasts, int):
            raise StoreFailed(
                StoreCause.WRONG_FIELD,
                f"{reference.path} gives no database login; name a role, as in database/creds/ROLE",
            )
        scheme, _, rest = reference.field.partition("://")
        url = f"{scheme}://{quote(user, safe='')}:{quote(password, safe='')}@{rest}"
        return _Lease(Secret.from_text(url), str(answer.get("lease_id")), now, lasts, token)

    def _renewed(self, lease: _Lease, now: float) -> bool:
        """Renew the lease; False if a new user is needed. Raises: StoreFailed if the store cannot say."""
        try:
            answer = self._client.post("sys/leases/renew", {"lease_id": lease.lease_id, "increment": lease.lasts_s})
        except StoreFailed as failure:
            if failure.cause in _NO_ANSWER:
                raise
            return False
        granted = answer.get("lease_duration")
        if not isinstance(granted, int) or granted < lease.lasts_s * 0.75:
            return False  # its longest time is near
        lease.since = now
        return True


class _Lease:
    __slots__ = ("lasts_s", "lease_id", "since", "token", "url")

    def __init__(self, url: Secret, lease_id: str, since: float, lasts_s: int, token: int) -> None:
        """Args: `token`: which token of the client took it."""
        self.url, self.lease_id, self.since, self.lasts_s, self.token = url, lease_id, since, lasts_s, token

    def is_due(self, now: float, poll_s: float) -> bool:
        return now >= self.since + max(0.0, min(self.lasts_s / 2, self.lasts_s - 3 * poll_s))


def _folder(path: str) -> str:
    return path.rpartition("/")[0] + "/"


def _needless(client: VaultClient, needed: Mapping[str, set[str]]) -> list[str]:
    found = []
    for path, rights in needed.items():
        more = client.rights(path) - rights - {"deny"}
        found += [f"{right} {path}" for right in sorted(more)]
    return found


def _field(data: Any, reference: SecretReference) -> Secret:
    """Return the field of a secret's data. Raises: StoreFailed, SecretRefused."""
    value = data.get(reference.field) if isinstance(data, Mapping) else None
    if isinstance(value, str) and value:
        return Secret(secret_meant(value.encode("utf-8", "surrogatepass")))
    problem = f"has no field {reference.field}" if value is None else f"holds no text in field {reference.field}"
    raise StoreFailed(StoreCause.WRONG_FIELD, f"{reference.path} {problem}; write the field, or correct the reference")


def _seconds(text: Any) -> float:
    """Return a time of Vault's, with nanoseconds. Raises: StoreFailed."""
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except ValueError:
        raise StoreFailed(StoreCause.UNUSABLE_ANSWER, "the store writes a time in an unknown form") from None
