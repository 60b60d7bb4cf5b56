"""Looks for new versions in the stores of secrets. What is found is used by the key ring and secret_watch.py.

A store that gives no answer changes nothing: the known secrets stay in use, metrics count it, and the log says it once.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from gateway.keys.sources.secret_store import StoredSecret, cause_of
from gateway.resilience.clock import Clock
from gateway.telemetry.logs import log

LOOK_SOON_S = 5.0
"""The least time between two looks, however often a secret is refused."""
_THREADS = 4
"""Reads at the same time; apart from the threads of the rest, which a hanging store must not take."""


@dataclass(slots=True, kw_only=True)
class SecretPoll:
    """The references of a process. `on_read` takes the store and "ok" or the cause; `on_failing` how long it fails."""

    secrets: Sequence[StoredSecret]
    every_s: float
    clock: Clock
    on_read: Callable[[str, str], None]
    on_failing: Callable[[str, float], None]
    _soon: asyncio.Event = field(default_factory=asyncio.Event)
    _threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(_THREADS, "secret-stores"))

    def look_soon(self) -> None:
        """Read before the time: what a secret is for refuses it, so the store may have another one."""
        self._soon.set()

    async def run(self) -> None:
        """Read every secret, again and again, until cancelled."""
        self._report()
        try:
            while True:
                await asyncio.sleep(min(LOOK_SOON_S, self.every_s))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._soon.wait(), max(self.every_s - LOOK_SOON_S, 0.0))
                self._soon.clear()
                await asyncio.gather(*(self._read(one) for one in self.secrets))
                self._report()
        finally:
            self._threads.shutdown(wait=False, cancel_futures=True)

    async def _read(self, one: StoredSecret) -> None:
        before = one.failure
        failure = await asyncio.get_running_loop().run_in_executor(self._threads, one.refresh)
        self.on_read(one.reference.scheme.value, "ok" if failure is None else cause_of(failure))
        if failure is not None and (before is None or cause_of(before) != cause_of(failure)):
            log().error(
                "a store of secrets does not answer; the known secret stays in use",
                reference=str(one.reference),
                cause=cause_of(failure),
                trouble=str(failure),
            )
        elif failure is None and before is not None:
            log().info("a store of secrets answers again", reference=str(one.reference))

    def _report(self) -> None:
        longest: dict[str, float] = {}
        for one in self.secrets:
            store, since = one.reference.scheme.value, one.failing_since
            lasts = 0.0 if since is None else max(self.clock.now() - since, 0.0)
            longest[store] = max(longest.get(store, 0.0), lasts)
        for store, lasts in longest.items():
            self.on_failing(store, lasts)
