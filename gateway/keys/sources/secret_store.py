"""A secret that lives in a store, and what a store must be able to do. gateway/keys/stores has the stores.

The process reads a secret at its start and every GATEWAY_SECRET_POLL seconds. While the store gives no answer, the
versions that are known stay in use, and `failure` and `failing_since` say why and since when.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from gateway.core.secret import Secret, SecretRefused
from gateway.core.secret_reference import SecretReference
from gateway.keys.sources.store_failure import StoreCause, StoreFailed

READ_WITHIN_S = 10.0
"""Longer than the time-outs of the libraries, which count from byte to byte: a slow store could use them for ever."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredVersion:
    """One version. `name`: the store's own; "" if it has none. `created_at`: Unix seconds; None if it does not say."""

    secret: Secret
    name: str = ""
    created_at: float | None = None


class SecretStore(Protocol):
    """Reads secrets. Every call blocks, and several threads may call."""

    def read(self, reference: SecretReference, *, with_earlier: bool) -> Sequence[StoredVersion]:
        """Return the version in force, as the last one; before it some earlier ones if they are wanted.

        Raises: SecretRefused with the cause; nothing of a secret is in it.
        """

    def needless_rights(self, reference: SecretReference) -> Sequence[str]:
        """Return what the gateway's login may also do there, and does not need. Changes nothing.

        Raises: SecretRefused if the store does not say.
        """


def not_readable_since(at: float) -> str:
    """Say since when a store gives no answer. Args: `at` in Unix seconds."""
    return f"not readable since {datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"


def cause_of(failure: SecretRefused) -> str:
    """Return the cause of a failed read, as in metrics."""
    return (failure.cause if isinstance(failure, StoreFailed) else StoreCause.UNUSABLE_ANSWER).value


class StoredSecret:
    """One reference and what its store last gave. Any thread may call."""

    def __init__(self, reference: SecretReference, store: SecretStore, clock: Callable[[], float]) -> None:
        """Read it. Raises: SecretRefused; without a value the gateway must not start."""
        self.reference = reference
        self._store = store
        self._clock = clock
        self._reading: threading.Thread | None = None
        self._one_at_a_time = threading.Lock()
        self.failure: SecretRefused | None = None
        self.failing_since: float | None = None
        self.versions: tuple[StoredVersion, ...] = self._read(with_earlier=True)

    @property
    def outage(self) -> str:
        """Since when and why the store gives no answer; "" while it does."""
        failure, since = self.failure, self.failing_since
        return "" if failure is None or since is None else f"{not_readable_since(since)} ({cause_of(failure)})"

    def refresh(self) -> SecretRefused | None:
        """Read it again. Return why that failed; the known versions then stay."""
        with self._one_at_a_time:
            return self._refresh()

    def _refresh(self) -> SecretRefused | None:
        try:
            found = self._read(with_earlier=False)
        except SecretRefused as failure:
            if self.failure is None:
                self.failing_since = self._clock()
            self.failure = failure
            return failure
        self.failure = self.failing_since = None
        if found[-1] != self.versions[-1]:
            self.versions = found
        return None

    def _read(self, *, with_earlier: bool) -> tuple[StoredVersion, ...]:
        """Read in a thread of its own, which is left behind if the store does not end its answer."""
        if self._reading is not None and self._reading.is_alive():
            raise StoreFailed(StoreCause.TIMEOUT, "its store has not answered the previous read yet; check its load")
        answers: queue.SimpleQueue[tuple[StoredVersion, ...] | BaseException] = queue.SimpleQueue()

        def ask() -> None:
            try:
                answers.put(tuple(self._store.read(self.reference, with_earlier=with_earlier)))
            except BaseException as error:  # noqa: BLE001 - handed to the caller
                answers.put(error)

        self._reading = threading.Thread(target=ask, name="secret-read", daemon=True)
        self._reading.start()
        try:
            answer = answers.get(timeout=READ_WITHIN_S)
        except queue.Empty:
            raise StoreFailed(
                StoreCause.TIMEOUT, f"its store does not answer within {READ_WITHIN_S:g} s; check its load"
            ) from None
        if isinstance(answer, SecretRefused):
            raise answer
        if isinstance(answer, Exception):
            raise SecretRefused(f"its store gave an answer that cannot be used ({type(answer).__name__})") from None
        if isinstance(answer, BaseException):
            raise answer
        return answer
