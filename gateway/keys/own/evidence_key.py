"""The gateway's own key for signing the heads of the evidence chain: configured, or created once next to SQLite's file.

A person with this key can forge a chain, so it is never stored in a database. Gateways that share a PostgreSQL either
all have it configured, or have none.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from gateway.core.ed25519 import KeyRefused, SigningKey, generate_signing_key
from gateway.core.secret import SecretRefused
from gateway.keys.own.loaded_secret import LoadedSecret
from gateway.keys.own.managed_key import load_operator_key
from gateway.keys.own.versions import RotationPolicy
from gateway.keys.sources.secret_files import SecretSource
from gateway.resilience.atomic_file import create_file
from gateway.resilience.clock import Clock
from gateway.telemetry.logs import log

SETTING = "GATEWAY_EVIDENCE_KEY"
FILE_NAME = "evidence_key.pem"
_CHECK_EVERY_S = 1.0


class EvidenceKey:
    """The current key. As with every secret, a changed file is used within seconds.

    It is read at first use, so that a gateway without its disk starts and reports the fault.
    """

    def __init__(
        self,
        source: SecretSource | None,
        make_in: Path | None,
        clock: Clock,
        on_event: Callable[[str], None] = lambda name: None,
    ) -> None:
        """Args: `make_in`: the folder in which a missing key is created. Without `source` and `make_in`: no key."""
        self._source = source
        self._make_in = make_in
        self._clock = clock
        self._on_event = on_event
        self._loaded: LoadedSecret[SigningKey] | None = None
        self._checked_at = 0.0

    def current(self) -> SigningKey | None:
        """Return the signing key; None if none is configured. Raises: SecretRefused, KeyRefused, OSError."""
        source = self._source
        if source is None and self._make_in is not None:
            source = SecretSource(setting=SETTING, path=_ensure_key_file(self._make_in))
        if source is None:
            return None
        now = self._clock.now()
        if self._loaded is None:
            self._loaded = load_evidence_key(source, now)
        elif self._clock.monotonic() - self._checked_at >= _CHECK_EVERY_S:
            for event in self._loaded.check_files(now):
                self._on_event(event)
            self._checked_at = self._clock.monotonic()
        return self._loaded.current


def load_evidence_key(source: SecretSource, now: float) -> LoadedSecret[SigningKey]:
    """Load the key and test its key pair. Raises: SecretRefused, KeyRefused."""
    return load_operator_key(source, now, RotationPolicy())


def check_evidence_key(source: SecretSource, now: float) -> str | None:
    """Return why the configured key cannot be used, or None."""
    try:
        load_evidence_key(source, now)
    except (SecretRefused, KeyRefused) as refused:
        return str(refused)
    return None


def _ensure_key_file(folder: Path) -> Path:
    """Return the key file; create it (0600) if it is missing. If several processes try at once, one creates it."""
    path = folder / FILE_NAME
    if path.exists():
        _make_private(path)
        return path
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        create_file(path, generate_signing_key()[1])
    except FileExistsError:
        pass
    return path


def _make_private(path: Path) -> None:
    """Take back what others may do with our own file: Kubernetes opens a volume's files to the group of `fsGroup`."""
    status = path.stat()
    if status.st_uid == os.geteuid() and status.st_mode & 0o070 and not status.st_mode & 0o007:
        path.chmod(0o600)
        log().warning(
            "the evidence key was open to a group; it is private again",
            path=path.name,
            advice="set fsGroupChangePolicy to OnRootMismatch, or give the key as GATEWAY_EVIDENCE_KEY_FILE",
        )
