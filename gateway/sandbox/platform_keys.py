"""Phoenix's own signing key (the platform key): one Ed25519 key pair, its rotation, and the times of its fetches."""

import time
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.sandbox.signatures import load_private_key, public_pem

WELL_KNOWN = "/.well-known/signing-key.pem"


class PlatformKeys:
    """The current key pair and the earlier ones. `fetches` holds the time of every request for the key."""

    def __init__(self, private_pem: str | None = None) -> None:
        self._keys = [load_private_key(private_pem) if private_pem else Ed25519PrivateKey.generate()]
        self._public = [public_pem(self._keys[0])]
        self.fetches: list[tuple[float, float]] = []

    @property
    def current(self) -> Ed25519PrivateKey:
        """Return the key that signs now."""
        return self._keys[-1]

    @property
    def previous(self) -> Ed25519PrivateKey | None:
        """Return the key before the last rotation, or None if there was no rotation."""
        return self._keys[-2] if len(self._keys) > 1 else None

    @property
    def current_pem(self) -> str:
        """Return the public key that the well-known route serves."""
        return self._public[-1]

    def rotate(self, private_pem: str | None = None) -> str:
        """Replace the key and return the new public key. Raises ValueError for a PEM that is not an Ed25519 key."""
        key = load_private_key(private_pem) if private_pem else Ed25519PrivateKey.generate()
        self._keys.append(key)
        self._public.append(public_pem(key))
        return self._public[-1]

    def count_fetch(self) -> None:
        """Count one arrival at the well-known route."""
        self.fetches.append((time.time(), time.monotonic()))

    def as_dict(self) -> dict[str, Any]:
        """Return the public keys and the fetches, never a private key."""
        return {
            "current": self._public[-1],
            "previous": self._public[:-1],
            "rotations": len(self._public) - 1,
            "fetches": len(self.fetches),
            "fetch_times": [wall for wall, _ in self.fetches],
            "fetch_monotonic": [monotonic for _, monotonic in self.fetches],
        }
