"""Whether the database works: one log line when that changes, and a count of each failure by its cause."""

from __future__ import annotations

import time
from collections.abc import Callable

from gateway.store.failures import Failure
from gateway.telemetry.logs import log

_AGAIN_AFTER_S = 30.0
"""A failure that comes and goes with the same cause is logged once in this time."""


class StoreState:
    """The state of one database in this process."""

    def __init__(
        self,
        store: str,
        *,
        on_failure: Callable[[str], None] = lambda cause: None,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """Args: `on_failure` gets the cause of each failure, also where a repeat succeeded; `on_change` is called when
        the database stops or begins to work."""
        self._store = store
        self._on_failure = on_failure
        self.on_change = on_change
        self.failure: Failure | None = None
        """Why the database does not work; None while it works."""
        self._began_at = 0.0
        self._failures = 0
        self._logged: tuple[str, float] = ("", float("-inf"))

    def counted(self, failure: Failure) -> None:
        """Count one failure."""
        self._on_failure(failure.cause)

    def failed(self, failure: Failure, *, address: str) -> None:
        """Record a failure that makes an answer unavailable."""
        now = time.monotonic()
        self._failures += 1
        is_change = self.failure is None
        is_same = self.failure is not None and failure.cause == self.failure.cause
        self.failure = failure
        if is_same:
            return
        if is_change:
            self._began_at = now
        cause, at = self._logged
        if cause != failure.cause or now - at >= _AGAIN_AFTER_S:
            self._logged = (failure.cause, now)
            log().warning(
                "the store does not work",
                store=self._store,
                address=address,
                kind=failure.cause,
                code=failure.code,
                error_type=failure.error,
                trouble=failure.what,
                advice=failure.advice,
            )
        if is_change:
            self.on_change()

    def works(self) -> None:
        """Record that a transaction succeeded."""
        if self.failure is None:
            return
        elapsed_ms = round((time.monotonic() - self._began_at) * 1000)
        log().info("the store works again", store=self._store, count=self._failures, elapsed_ms=elapsed_ms)
        self.failure, self._failures = None, 0
        self.on_change()
