"""One secret in use and the files of its versions: looked at twice a second, believed once they stand still.

A file that changes is believed once it has stood still for one look and its content can be used; a half-written or
wrong one is noted and leaves the value in use. Where `NAME_FILE` is one file, new content is a new version that takes
over at once; in a folder (version_files.py) it does so at the time of its name, and not before it was announced for
the lead. Which version is in use is versions.py's rule, what a value must be the keyring's. Source: API.md, "reread
when the file changes"; issue 8, point 3.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from gateway.core.ed25519 import KeyRefused
from gateway.core.key_trial import TrialResult
from gateway.core.secret import Secret, SecretRefused
from gateway.core.types import KeyId
from gateway.keys.descriptions import KeyState
from gateway.keys.own.secret_files import FileStamp, read_secret_file, stamp_of
from gateway.keys.own.version_files import VersionFile, find_versions, name_for
from gateway.keys.own.versions import Life, Version, Versions

T = TypeVar("T")

REFUSED, ANNOUNCED = "secret_file_refused", "secret_file_announced"
MOUNTED_TOGETHER_S = 60.0
"""Files laid down within this time came with one mount, such as a container's: their age says nothing of the keys'."""
_LATE_S = 10.0
_CHANGED = "was changed after it was taken; it stays what it was: add a new file instead"
_DIGEST_KEY = secrets.token_bytes(32)  # so that a digest is of no use outside this process


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretSource:
    """Where one secret comes from: a value given directly, a file, or a folder with a file for each version.

    `setting` is its name in messages.
    """

    setting: str
    value: Secret | None = None
    path: Path | None = None


@dataclass(slots=True, kw_only=True)
class _Seen:
    """What is known of one file. `judged`: the state that was read; `missing`: looks in a row that did not find it."""

    stamp: FileStamp | None = None
    judged: FileStamp | None = None
    fault: str = ""
    missing: int = 0


class LoadedSecret(Generic[T]):
    """The versions of one secret; `current` is the value in use."""

    def __init__(
        self,
        source: SecretSource,
        make: Callable[[Secret], T],
        now: float,
        *,
        life: Life | None = None,
        identify: Callable[[T], KeyId | None] = lambda value: None,
    ) -> None:
        """Read every version and make of it what is used. `identify` gives the fingerprint of a public half.

        Raises: SecretRefused, KeyRefused when there is none that can be used.
        """
        self._source = source
        self._make = make
        self._identify = identify
        self._life = life or Life()
        self._files: dict[str, _Seen] = {}
        self._other_faults: tuple[tuple[str, str], ...] = ()
        self.versions: Versions[T] = Versions(self._life, self._read_all(now), now)
        self.current = self._value()

    def look(self, now: float) -> list[str]:
        """Look at the files once and let versions take over; return what is to be counted."""
        told: list[str] = []
        if self._source.path is not None:
            try:
                found = find_versions(self._source.path)
            except OSError:
                found = None  # gone for a moment while it is replaced, or for good: what is known stays either way
            if found is not None:
                for file in found.files:
                    told += self._look_at(file, now)
                told += [REFUSED for fault in found.faults if fault not in self._other_faults]
                self._other_faults = found.faults
                self._forget_all_but({file.name for file in found.files}, now)
        return told + self._settle(now)

    def judge(self, version: Version[T], result: TrialResult, now: float, *, in_doubt: bool) -> list[str]:
        """Take in what came of a trial, and let versions take over; return what is to be counted."""
        return self.versions.judge(version, result, now, in_doubt=in_doubt) + self._settle(now)

    def notes(self, version: Version[T], now: float) -> str:
        """What a person should know of a version; for the active one also of files that are not used."""
        notes = []
        if version.trial is not None and (version is not self.versions.active or version.trial is TrialResult.REFUSED):
            notes.append(version.trial.value)
        if version is self.versions.active:
            faults = [(name, seen.fault) for name, seen in self._files.items() if seen.fault]
            notes += [f"{name or 'the new file'}: {fault}" for name, fault in (*faults, *self._other_faults)]
        elif self.versions.state(version, now) is KeyState.RETIRED and version.activated_at is None:
            notes.append("older than the key in use")
        return "; ".join(notes)

    def _settle(self, now: float) -> list[str]:
        in_motion = {name for name, seen in self._files.items() if seen.missing or seen.stamp != seen.judged}
        told = self.versions.settle(now, in_motion)
        for one in self.versions.all():
            if one.value is None and (not one.name or one.name not in self._files):
                self.versions.drop(one)  # of a file whose content was replaced: there is nothing left of it to tell
        self.current = self._value()
        return told

    def _value(self) -> T:
        value = self.versions.active.value
        assert value is not None  # only retired versions lose theirs
        return value

    def _read_all(self, now: float) -> list[Version[T]]:
        """Read what is there at the start. Raises: SecretRefused, KeyRefused: nothing of it can be used."""
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
            "its folder holds no version; name each file by its time, such as 2026-11-21T10:00Z.pem"
        )
        versions: list[Version[T]] = []
        for file in found.files:
            seen = self._files[file.name] = _Seen()
            try:
                secret, stamp = read_secret_file(file.path, in_folder=file.named_at is not None)
                self._make(secret)
            except (SecretRefused, KeyRefused) as error:
                seen.fault, refusal = str(error), error
                continue
            seen.stamp = seen.judged = stamp
            read.append((file, secret, min(stamp.changed_ns / 1e9, now)))
        first_laid_at = min((laid_at for _, _, laid_at in read), default=now)
        for file, secret, laid_at in read:
            if file.named_at is None:
                versions.append(self._version("", secret, order=now, announced_at=now, activates_at=now))
                continue
            activates_at = self._activates_at(file.named_at, laid_at, now, laid_at - first_laid_at < MOUNTED_TOGETHER_S)
            versions.append(
                self._version(
                    file.name,
                    secret,
                    order=file.named_at,
                    announced_at=min(laid_at, activates_at),
                    activates_at=activates_at,
                )
            )
        if not versions:
            raise refusal
        return versions

    def _activates_at(self, named_at: float, laid_at: float, now: float, mounted_together: bool) -> float:
        """When a version of a folder takes over: at the time of its name, but after it was published for the lead.

        A process that begins takes an older name at its word where the file's age cannot be that of the key.
        """
        published_at = named_at + self._life.lead_s
        if published_at <= now and (mounted_together or published_at + self._life.retire_s <= now):
            return named_at
        return max(named_at, laid_at + self._life.lead_s)

    def _look_at(self, file: VersionFile, now: float) -> list[str]:
        seen = self._files.setdefault(file.name, _Seen())
        try:
            stamp = stamp_of(file.path)
        except OSError:
            return []
        stood_still, seen.stamp = stamp == seen.stamp, stamp
        if not stood_still or stamp == seen.judged:
            return []
        seen.judged = stamp
        try:
            secret, read = read_secret_file(file.path, in_folder=file.named_at is not None)
            if read != stamp:
                seen.judged = None  # written to in this very moment: judge it again later
                return []
            told = self._take(file, secret, stamp, now)
        except (SecretRefused, KeyRefused) as error:
            seen.fault = str(error)
            return [REFUSED]
        seen.fault = ""
        return told

    def _take(self, file: VersionFile, secret: Secret, stamp: FileStamp, now: float) -> list[str]:
        """Take in the content of a file. Raises: SecretRefused, KeyRefused."""
        if file.named_at is None:
            order = max(now, self.versions.active.order + 0.001)
            new = self._version(name_for(order, ""), secret, order=order, announced_at=now, activates_at=now)
            for one in self.versions.all():
                if one.activated_at is None:  # content that was never used, and is gone
                    self.versions.drop(one)
            if new.digest != self.versions.active.digest:
                self.versions.add(new)
            return []
        changed_at = stamp.changed_ns / 1e9
        laid_at = changed_at if 0 <= now - changed_at <= _LATE_S else now  # a renamed file may keep an old time
        activates_at = max(file.named_at, laid_at + self._life.lead_s)
        new = self._version(file.name, secret, order=file.named_at, announced_at=laid_at, activates_at=activates_at)
        for one in self.versions.all():
            if one.name != file.name:
                continue
            if one.digest == new.digest:
                return []  # the same, laid down again: a mount that was renewed
            if one.activated_at is not None:
                raise SecretRefused(_CHANGED)
            self.versions.drop(one)
        self.versions.add(new)
        return [ANNOUNCED]

    def _forget_all_but(self, names: set[str], now: float) -> None:
        """Drop the versions whose files are gone for two looks; the one in use stays."""
        for name, seen in list(self._files.items()):
            seen.missing = 0 if name in names else seen.missing + 1
            if seen.missing < 2:
                continue
            gone = [one for one in self.versions.all() if one.name == name]
            if self.versions.active in gone:
                seen.fault = "is gone; this key stays in use until a newer one takes over"
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
