"""One secret and its versions, from files or from a store, checked twice a second.

A changed file is read when it was stable for one check. A half-written or invalid file is noted, and the current value
stays in use. If `NAME_FILE` is one file, new content is a new version that takes over at once. In a folder
(version_files.py), a version takes over at the time in its name, but not before it was announced for the lead time.
secret_versions.py adds the versions of a store. versions.py decides which version is in use.
Source: API.md, "reread when the file changes".
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from gateway.core.ed25519 import KeyRefused
from gateway.core.key_trial import TrialResult
from gateway.core.secret import Secret, SecretRefused
from gateway.core.types import KeyId
from gateway.keys.descriptions import KeyState
from gateway.keys.own.secret_versions import SecretVersions
from gateway.keys.own.versions import RotationPolicy, Version, Versions
from gateway.keys.sources.secret_files import FileStamp, SecretSource, read_secret_file, stamp_of
from gateway.keys.sources.secret_store import StoredSecret
from gateway.keys.sources.version_files import VersionFile, find_versions, name_for

T = TypeVar("T")

REFUSED, ANNOUNCED = "secret_file_refused", "secret_file_announced"
ONE_MOUNT_S = 60.0
"""Files written within this time came with one mount, such as a container's. Their age says nothing about the keys."""
_CLOCK_TOLERANCE_S = 10.0
_CHANGED = "was changed after the gateway read it, and the change is ignored: add a new file instead"
_DIGEST_KEY = secrets.token_bytes(32)  # makes digests useless outside this process


@dataclass(slots=True, kw_only=True)
class _FileState:
    """The state of one file. `read`: the stamp at the last read; `missing`: consecutive checks without the file."""

    stamp: FileStamp | None = None
    read_stamp: FileStamp | None = None
    fault: str = ""
    missing: int = 0


class LoadedSecret(Generic[T]):
    """The versions of one secret. `current` is the value in use."""

    def __init__(
        self,
        source: SecretSource,
        make: Callable[[Secret], T],
        now: float,
        *,
        policy: RotationPolicy | None = None,
        identify: Callable[[T], KeyId | None] = lambda value: None,
    ) -> None:
        """Read every version. `make` converts a secret to its value; `identify` returns its fingerprint, if any.

        Raises: SecretRefused, KeyRefused if no version can be used.
        """
        self._source = source
        self._make = make
        self._identify = identify
        self._policy = policy or RotationPolicy()
        self._files: dict[str, _FileState] = {}
        self._other_faults: tuple[tuple[str, str], ...] = ()
        self._stored = (
            None if source.stored is None else SecretVersions(source.stored, self._version, self._policy.lead_s)
        )
        self.versions: Versions[T] = Versions(self._policy, self._read_all(now), now)
        self.current = self._value()

    def check_files(self, now: float) -> list[str]:
        """Check the files once and let versions take over. Return the events to count."""
        events: list[str] = []
        if self._stored is not None:
            events += self._stored.check(self.versions, now)
        elif self._source.path is not None:
            try:
                found = find_versions(self._source.path)
            except OSError:
                found = None  # missing, perhaps only during a replacement: keep the known versions
            if found is not None:
                for file in found.files:
                    events += self._check_file(file, now)
                events += [REFUSED for fault in found.faults if fault not in self._other_faults]
                self._other_faults = found.faults
                self._drop_missing({file.name for file in found.files}, now)
        return events + self._settle(now)

    @property
    def stored(self) -> StoredSecret | None:
        """The secret in its store, if it is in one."""
        return self._source.stored

    @property
    def source(self) -> str:
        """Where the versions come from, for people: the name of a setting or a reference."""
        return str(self._source)

    def record_trial(self, version: Version[T], result: TrialResult, now: float, *, after_rejection: bool) -> list[str]:
        """Record the result of a trial and let versions take over. Return the events to count."""
        return self.versions.record_trial(version, result, now, after_rejection=after_rejection) + self._settle(now)

    def notes(self, version: Version[T], now: float) -> str:
        """Return notes for operators on a version; for the active one, also on files that are not used."""
        notes = []
        if version.trial is not None and (version is not self.versions.active or version.trial is TrialResult.REFUSED):
            notes.append(version.trial.value)
        if version is self.versions.active:
            faults = [(name, seen.fault) for name, seen in self._files.items() if seen.fault]
            notes += [f"{name or 'the new file'}: {fault}" for name, fault in (*faults, *self._other_faults)]
            notes += [] if self._stored is None else self._stored.notes()
        elif self.versions.state(version, now) is KeyState.RETIRED and version.activated_at is None:
            notes.append("older than the key in use")
        return "; ".join(notes)

    def _settle(self, now: float) -> list[str]:
        changing = {name for name, seen in self._files.items() if seen.missing or seen.stamp != seen.read_stamp}
        events = self.versions.settle(now, changing)
        for one in self.versions.all():
            if one.value is None and self._stored is None and (not one.name or one.name not in self._files):
                self.versions.drop(one)  # the content of its file was replaced: nothing is left to describe
        self.current = self._value()
        return events

    def _value(self) -> T:
        value = self.versions.active.value
        assert value is not None  # only retired versions lose their value
        return value

    def _read_all(self, now: float) -> list[Version[T]]:
        """Read all versions at the start. Raises: SecretRefused, KeyRefused if none can be used."""
        if self._stored is not None:
            return self._stored.read_all(now)
        if self._source.path is None:
            if self._source.value is None:
                raise SecretRefused("is not set")
            return [self._version("", self._source.value, order=now, announced_at=now, activates_at=now)]
        try:
            found = find_versions(self._source.path)
        except OSError as error:
            raise SecretRefused(f"its folder cannot be read ({error.strerror})") from None
        self._other_faults = found.faults
        read: list[tuple[VersionFile, Secret, float]] = []
        refusal: SecretRefused | KeyRefused = SecretRefused(
            "its folder contains no version; name each file by its time, such as 2026-11-21T10:00Z.pem"
        )
        versions: list[Version[T]] = []
        for file in found.files:
            seen = self._files[file.name] = _FileState()
            try:
                secret, stamp = read_secret_file(file.path, in_folder=file.named_at is not None)
                self._make(secret)
            except (SecretRefused, KeyRefused) as error:
                seen.fault, refusal = str(error), error
                continue
            seen.stamp = seen.read_stamp = stamp
            read.append((file, secret, min(stamp.changed_ns / 1e9, now)))
        first_written_at = min((written_at for _, _, written_at in read), default=now)
        for file, secret, written_at in read:
            if file.named_at is None:
                versions.append(self._version("", secret, order=now, announced_at=now, activates_at=now))
                continue
            activates_at = self._activates_at(
                file.named_at, written_at, now, written_at - first_written_at < ONE_MOUNT_S
            )
            versions.append(
                self._version(
                    file.name,
                    secret,
                    order=file.named_at,
                    announced_at=min(written_at, activates_at),
                    activates_at=activates_at,
                )
            )
        if not versions:
            raise refusal
        return versions

    def _activates_at(self, named_at: float, written_at: float, now: float, mounted_together: bool) -> float:
        """Return when a version in a folder takes over: at the time in its name, after the lead time of publication.

        A starting process accepts an old time in a name if the age of the file cannot be the age of the key.
        """
        published_at = named_at + self._policy.lead_s
        if published_at <= now and (mounted_together or published_at + self._policy.retire_s <= now):
            return named_at
        return max(named_at, written_at + self._policy.lead_s)

    def _check_file(self, file: VersionFile, now: float) -> list[str]:
        seen = self._files.setdefault(file.name, _FileState())
        try:
            stamp = stamp_of(file.path)
        except OSError:
            return []
        is_stable, seen.stamp = stamp == seen.stamp, stamp
        if not is_stable or stamp == seen.read_stamp:
            return []
        seen.read_stamp = stamp
        try:
            secret, read = read_secret_file(file.path, in_folder=file.named_at is not None)
            if read != stamp:
                seen.read_stamp = None  # written to at this moment: read it again later
                return []
            events = self._add_content(file, secret, stamp, now)
        except (SecretRefused, KeyRefused) as error:
            seen.fault = str(error)
            return [REFUSED]
        seen.fault = ""
        return events

    def _add_content(self, file: VersionFile, secret: Secret, stamp: FileStamp, now: float) -> list[str]:
        """Add the content of a file as a version. Raises: SecretRefused, KeyRefused."""
        if file.named_at is None:
            order = max(now, self.versions.active.order + 0.001)
            new = self._version(name_for(order, ""), secret, order=order, announced_at=now, activates_at=now)
            for one in self.versions.all():
                if one.activated_at is None:  # its content was never used and is replaced
                    self.versions.drop(one)
            if new.digest != self.versions.active.digest:
                self.versions.add(new)
            return []
        changed_at = stamp.changed_ns / 1e9
        written_at = (
            changed_at if 0 <= now - changed_at <= _CLOCK_TOLERANCE_S else now
        )  # a renamed file may keep an old time
        activates_at = max(file.named_at, written_at + self._policy.lead_s)
        new = self._version(file.name, secret, order=file.named_at, announced_at=written_at, activates_at=activates_at)
        for one in self.versions.all():
            if one.name != file.name:
                continue
            if one.digest == new.digest:
                return []  # the same content, written again: a renewed mount
            if one.activated_at is not None:
                raise SecretRefused(_CHANGED)
            self.versions.drop(one)
        self.versions.add(new)
        return [ANNOUNCED]

    def _drop_missing(self, names: set[str], now: float) -> None:
        """Drop versions whose files were missing in two checks. The version in use stays."""
        for name, seen in list(self._files.items()):
            seen.missing = 0 if name in names else seen.missing + 1
            if seen.missing < 2:
                continue
            gone = [one for one in self.versions.all() if one.name == name]
            if self.versions.active in gone:
                seen.fault = "is missing; this key stays in use until a newer one takes over"
                continue
            for one in gone:
                self.versions.drop(one)
            del self._files[name]

    def _version(
        self, name: str, secret: Secret, *, order: float, announced_at: float, activates_at: float
    ) -> Version[T]:
        value = self._make(secret)
        return Version(
            name=name,
            order=order,
            value=value,
            digest=_digest(secret),
            key_id=self._identify(value),
            announced_at=announced_at,
            activates_at=activates_at,
        )


def _digest(secret: Secret) -> bytes:
    return hashlib.blake2b(secret.reveal(), key=_DIGEST_KEY, digest_size=16).digest()
