"""Makes versions of a key of the versions of a secret in a store, as loaded_secret.py does of files.

A store with versions of its own names and dates them; elsewhere each new content is a version that takes over now. The
store may also go back to an earlier version: what it names now is what takes over next.
"""

from __future__ import annotations

from typing import Any, Protocol

from gateway.core.ed25519 import KeyRefused
from gateway.core.secret import Secret, SecretRefused
from gateway.keys.own.versions import Version, Versions
from gateway.keys.sources.secret_store import StoredSecret, StoredVersion, not_readable_since
from gateway.keys.sources.version_files import name_for

_REFUSED, _ANNOUNCED = "secret_file_refused", "secret_file_announced"
_STEP = 0.001


class MakeVersion(Protocol):
    """Makes a version, or raises SecretRefused or KeyRefused if its content is no such secret."""

    def __call__(
        self, name: str, secret: Secret, *, order: float, announced_at: float, activates_at: float
    ) -> Version[Any]: ...


class SecretVersions:
    """Adds what a store gives to the versions of one secret."""

    def __init__(self, stored: StoredSecret, make: MakeVersion, lead_s: float) -> None:
        """Args: `lead_s`: how long a version is announced before it is used."""
        self._stored = stored
        self._make = make
        self._lead_s = lead_s
        self._seen: StoredVersion | None = None
        self._fault = ""

    def read_all(self, now: float) -> list[Version[Any]]:
        """Return the versions at the start. Raises: SecretRefused, KeyRefused if the one in force cannot be used."""
        found = self._stored.versions
        self._seen = found[-1]
        made: list[Version[Any]] = []
        for place, one in enumerate(found, start=1 - len(found)):
            # Without a date it counts as published long ago: this process cannot know better.
            created_at = now - self._lead_s + place * _STEP if one.created_at is None else min(one.created_at, now)
            order = max(created_at, made[-1].order + _STEP) if made else created_at
            try:
                made.append(self._version(one, order, created_at))
            except (SecretRefused, KeyRefused) as refusal:
                if one is found[-1]:
                    raise
                self._fault = f"version {one.name}: {refusal}"
        return made

    def check(self, versions: Versions[Any], now: float) -> list[str]:
        """Add a version that is new in the store, and drop those that never were in use. Return the events to count."""
        newest = self._stored.versions[-1]
        if newest is self._seen:
            return []
        self._seen = newest
        name = newest.name or name_for(now, "")
        order = max(now, versions.all()[-1].order + _STEP)
        if any(
            one.name == name and one is not versions.active and one.activated_at is not None for one in versions.all()
        ):
            name += f" of {name_for(now, '')}"  # in force again
        try:
            new = self._version(newest, order, now, name)
        except (SecretRefused, KeyRefused) as refusal:
            self._fault = f"version {newest.name or 'of now'}: {refusal}"
            return [_REFUSED]
        self._fault = ""
        for one in versions.all():
            if one.activated_at is None and one.digest != new.digest:
                versions.drop(one)
        if any(
            one.digest == new.digest for one in versions.all() if one is versions.active or one.activated_at is None
        ):
            return []
        versions.add(new)
        return [_ANNOUNCED]

    def notes(self) -> list[str]:
        """Return what operators should know: a version that cannot be used, a store that does not answer."""
        notes = [self._fault] if self._fault else []
        failure, since = self._stored.failure, self._stored.failing_since
        if failure is not None and since is not None:
            notes.append(f"{not_readable_since(since)}, the known versions stay in use: {failure}")
        return notes

    def _version(self, one: StoredVersion, order: float, announced_at: float, name: str | None = None) -> Version[Any]:
        return self._make(
            one.name if name is None else name,
            one.secret,
            order=order,
            announced_at=announced_at,
            activates_at=announced_at + self._lead_s,
        )
