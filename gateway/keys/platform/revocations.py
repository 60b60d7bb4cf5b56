"""The revoked platform keys that this machine remembers: a small file of fingerprints.

Every process that shares the data directory reads the file as soon as it changes. Replicas on other machines learn of
revoked keys through Redis (redis_key_cache.py). Source: API.md, `KEY_RETIRED` and `phoenix-gateway keys revoke`.
"""

from __future__ import annotations

import re
from pathlib import Path

from gateway.core.types import KeyId
from gateway.keys.sources.secret_files import FileStamp, stamp_of
from gateway.resilience.atomic_file import replace_file
from gateway.telemetry.trouble import TroubleLog

FILE_NAME = "revoked-platform-keys"
MAX_KEYS = 1000
_KEY_ID = re.compile(r"[0-9a-f]{64}")
_ADVICE = "let the gateway's user read the file, or revoke the keys again: phoenix-gateway keys revoke"


class RevokedKeys:
    """The file in a data directory. It may be missing."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / FILE_NAME
        self._trouble = TroubleLog("revoked platform keys", address=str(self._path), advice=_ADVICE)
        self._stamp: FileStamp | None = None
        self._known: frozenset[KeyId] = frozenset()

    def known(self) -> frozenset[KeyId]:
        """Return the keys in the file. Keys that were read once stay, even if the file disappears."""
        try:
            stamp = stamp_of(self._path)
            if stamp != self._stamp:
                text = self._path.read_text("ascii", errors="replace")
                found = (line for line in text.splitlines() if _KEY_ID.fullmatch(line))
                self._known |= frozenset(KeyId(line) for line in found)
                self._stamp = stamp
            self._trouble.works()
        except FileNotFoundError:
            pass  # no key was revoked on this machine yet
        except OSError as error:
            self._trouble.failed(error)
        return self._known

    def add(self, key_ids: frozenset[KeyId]) -> None:
        """Add to the file, replacing it whole and on disk before this returns. Raises: OSError."""
        keys = sorted(self.known() | key_ids)[-MAX_KEYS:]
        self._path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(self._path, "".join(f"{key}\n" for key in keys).encode("ascii"))
