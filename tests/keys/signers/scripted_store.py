"""A store of keys in this process, which counts its requests and can be slow, down, or wrong."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from gateway.core.ed25519 import SigningKey, generate_signing_key
from gateway.keys.signers.store import StoredKey
from gateway.keys.sources.store_failure import StoreCause, StoreFailed


class ScriptedStore:
    """A KeyStore. `requests` holds the version and the number of messages of each request."""

    reference = "scripted:launch"

    def __init__(self, *, most_in_one_request: int = 100, at_once: int = 4) -> None:
        self.most_in_one_request = most_in_one_request
        self.at_once = at_once
        self.requests: list[tuple[str, int]] = []
        self.asked = 0
        self.down = False
        self.answers_with: list[bytes] | None = None
        self.signs_with: SigningKey | None = None
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.keys: dict[str, SigningKey] = {}
        self._created: dict[str, float] = {}
        self._lock = threading.Lock()
        self.got = threading.Semaphore(0)

    def add(self, created_at: float) -> SigningKey:
        """Add a version."""
        name = str(len(self.keys) + 1)
        self.keys[name], self._created[name] = generate_signing_key()[0], created_at
        return self.keys[name]

    def versions(self) -> list[StoredKey]:
        self.asked += 1
        if self.down:
            raise StoreFailed(StoreCause.UNREACHABLE, "it is down")
        return [
            StoredKey(name=name, public=key.public, order=float(name), created_at=self._created[name])
            for name, key in self.keys.items()
        ]

    def sign(self, version: str, messages: Sequence[bytes]) -> list[bytes]:
        with self._lock:
            self.requests.append((version, len(messages)))
        self.got.release()
        self.may_answer.wait(30)
        if self.down:
            raise StoreFailed(StoreCause.UNREACHABLE, "it is down")
        if self.answers_with is not None:
            return self.answers_with
        key = self.signs_with or self.keys[version]
        return [key.sign(one) for one in messages]

    def needless_rights(self) -> list[str]:
        return []
