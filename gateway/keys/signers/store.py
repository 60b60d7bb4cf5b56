"""What a store of launch keys does, whatever its kind. The stores block; signing_queue.py calls them in threads.

A store names the versions of one key and signs with any of them. It decides nothing about rotation
(signer_versions.py), retries nothing and verifies nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.core.ed25519 import VerifyingKey

SIGN_WITHIN_S = 2.0
"""The longest wait for one answer of a store. A caller's own deadline may be shorter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredKey:
    """One version of a key in a store.

    `name`: its name in the store, unique for ever. `public`: its public half, tested. `order`: higher is newer.
    `created_at`: when the store says that it was made; None if the store does not know. `named_at`: the activation time
    in its name; None without one. Times are Unix seconds.
    """

    name: str
    public: VerifyingKey
    order: float
    created_at: float | None = None
    named_at: float | None = None


class KeyStore(Protocol):
    """One key in a store, with its versions. Its methods block and may be called by several threads at once."""

    @property
    def reference(self) -> str:
        """The reference in the setting. It is no secret."""

    @property
    def most_in_one_request(self) -> int:
        """How many messages one request can sign."""

    @property
    def at_once(self) -> int:
        """How many requests the store gets at the same time."""

    def versions(self) -> list[StoredKey]:
        """Return every version that can sign, at least one. Raises: StoreFailed."""

    def sign(self, version: str, messages: Sequence[bytes]) -> list[bytes]:
        """Return a signature of 64 bytes per message, in order. Raises: StoreFailed."""

    def needless_rights(self) -> list[str]:
        """Return what the gateway may do to this key and does not need. Raises: StoreFailed."""
