"""The gateway's own key that signs the heads of the evidence chain: configured, or made once beside SQLite's file.

Whoever holds this key can make a chain anew, so it lies with no database: where several gateways share a PostgreSQL it
is configured for all of them or there is none. Source: issue 7, point 4.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path

from gateway.core.ed25519 import KeyRefused, SigningKey, generate_signing_key
from gateway.core.secret import SecretRefused
from gateway.keys.own.loaded_secret import LoadedSecret, SecretSource
from gateway.keys.own.managed_key import load_operator_key
from gateway.keys.own.versions import Life
from gateway.resilience.clock import Clock

SETTING = "GATEWAY_EVIDENCE_KEY"
FILE_NAME = "evidence_key.pem"
_LOOK_EVERY_S = 1.0


class EvidenceKey:
    """The key in use; a changed file is taken over within seconds, as with every secret.

    Read at first use: a gateway starts, and says what is wrong, while its disk is not there.
    """

    def __init__(
        self,
        source: SecretSource | None,
        make_in: Path | None,
        clock: Clock,
        on_event: Callable[[str], None] = lambda name: None,
    ) -> None:
        """Args: `make_in`: the folder of a key that is made when it is missing; with neither there is no key."""
        self._source = source
        self._make_in = make_in
        self._clock = clock
        self._on_event = on_event
        self._loaded: LoadedSecret[SigningKey] | None = None
        self._looked_at = 0.0

    def current(self) -> SigningKey | None:
        """Return the key to sign with now; None: none is configured. Raises: SecretRefused, KeyRefused, OSError."""
        source = self._source
        if source is None and self._make_in is not None:
            source = SecretSource(setting=SETTING, path=_made(self._make_in))
        if source is None:
            return None
        now = self._clock.now()
        if self._loaded is None:
            self._loaded = load_evidence_key(source, now)
        elif self._clock.monotonic() - self._looked_at >= _LOOK_EVERY_S:
            for event in self._loaded.look(now):
                self._on_event(event)
            self._looked_at = self._clock.monotonic()
        return self._loaded.current


def load_evidence_key(source: SecretSource, now: float) -> LoadedSecret[SigningKey]:
    """Load the key, its pair proved. Raises: SecretRefused, KeyRefused."""
    return load_operator_key(source, now, Life())


def check_evidence_key(source: SecretSource, now: float) -> str | None:
    """Return why the configured key cannot be used; None: it can."""
    try:
        load_evidence_key(source, now)
    except (SecretRefused, KeyRefused) as refused:
        return str(refused)
    return None


def _made(folder: Path) -> Path:
    """Return the file of the key, made (0600) if it is not there; of several processes at once, one makes it."""
    path = folder / FILE_NAME
    if path.exists():
        return path
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    own = folder / f".{FILE_NAME}.{secrets.token_hex(8)}"
    try:
        with os.fdopen(os.open(own, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            stream.write(generate_signing_key()[1])
            stream.flush()
            os.fsync(stream.fileno())
        try:
            os.link(own, path)  # unlike a rename, never over another's key
        except FileExistsError:
            pass
        else:
            directory = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
    finally:
        own.unlink(missing_ok=True)
    return path
