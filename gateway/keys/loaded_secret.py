"""One secret in use, and the file that it came from: taken over anew when the file changes for good.

A changed file is believed once it has stood still for one look and its content can be used; a half-written or wrong one
leaves the value in use. What a value must be is the keyring's business. Source: API.md, "reread when the file changes".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from gateway.core.ed25519 import KeyRefused
from gateway.keys.secrets import FileStamp, Secret, SecretRefused, read_secret_file, stamp_of

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretSource:
    """Where one secret comes from: a value given directly, or a file. `setting` is its name in messages."""

    setting: str
    value: Secret | None = None
    path: Path | None = None


class LoadedSecret(Generic[T]):
    """One value in use, and the state of the file that it came from."""

    def __init__(self, source: SecretSource, make: Callable[[Secret], T], now: float) -> None:
        """Read the secret and make of it what is used.

        Raises: SecretRefused, KeyRefused.
        """
        self._source = source
        self._make = make
        secret, stamp = self._read()
        self.current = make(secret)
        self.activated_at = now
        self._used: FileStamp | None = stamp
        self._seen: FileStamp | None = stamp
        self._judged: FileStamp | None = stamp

    def look(self, now: float) -> str | None:
        """Take over a changed file that stood still since the last look; returns what is to be counted."""
        if self._source.path is None:
            return None
        try:
            stamp = stamp_of(self._source.path)
        except OSError:
            # Gone for a moment while it is replaced, or for good: the value in use stays either way.
            return None
        stood_still, self._seen = stamp == self._seen, stamp
        if not stood_still or stamp == self._judged:
            return None
        self._judged = stamp
        try:
            secret, read = self._read()
            if read != stamp:
                self._judged = self._used  # written to in this very moment: judge it again later
                return None
            self.current = self._make(secret)
        except (SecretRefused, KeyRefused):
            return "secret_file_refused"
        self._used, self.activated_at = stamp, now
        return "secret_file_reloaded"

    def _read(self) -> tuple[Secret, FileStamp | None]:
        if self._source.path is not None:
            return read_secret_file(self._source.path)
        if self._source.value is None:
            raise SecretRefused("is not set")
        return self._source.value, None
