"""The currencies that an operator supports, from the Operator API; for operators whose configuration names none.

Phoenix refuses a token with a wrong currency at connect, which does no harm. But a token that is refused here by
mistake locks a player out. So a currency is refused only by a list that was just fetched. After any failure the
currency passes, with only its form checked. If Phoenix is down, one mint per minute waits half a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from gateway.errors import GatewayError
from gateway.resilience.clock import Clock
from gateway.resilience.deadline import Deadline
from gateway.resilience.supervision import run_job

FetchCurrencies = Callable[[Deadline], Awaitable[frozenset[str]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrencySettings:
    """Times in seconds."""

    fresh_s: float = 300.0
    """An older list is fetched again in the background after it accepts a currency."""
    certain_s: float = 10.0
    """A list may refuse a currency up to this age; an older one is fetched again first. Also the shortest time between
    fetches."""
    pause_s: float = 60.0
    """Time without another fetch after a failed one."""
    wait_s: float = 0.5
    """Longest wait of a mint for a fetch."""
    fetch_s: float = 5.0
    """Longest time of a fetch."""


class SupportedCurrencies:
    """The list of one operator environment. At most one fetch runs at a time."""

    def __init__(self, fetch: FetchCurrencies, clock: Clock, settings: CurrencySettings | None = None) -> None:
        """Start without a list. `fetch` raises GatewayError if Phoenix cannot be reached; an empty list is ignored."""
        self._fetch = fetch
        self._clock = clock
        self._settings = settings or CurrencySettings()
        self._known: frozenset[str] = frozenset()
        self._known_at = float("-inf")
        self._failed_at = float("-inf")
        self._fetch_began_at = float("-inf")
        self._fetching: asyncio.Task[None] | None = None

    async def refused(self, currency: str, deadline: Deadline) -> frozenset[str] | None:
        """Return the supported currencies if `currency` is certainly not one of them; None if it may pass."""
        if currency in self._known:
            if self._age_s > self._settings.fresh_s:
                self._begin()
            return None
        if self._age_s > self._settings.certain_s:
            await self._wait(deadline)
        certainly = self._known and self._age_s <= self._settings.certain_s and currency not in self._known
        return self._known if certainly else None

    async def stop(self) -> None:
        """Cancel a running fetch."""
        fetching = self._fetching
        if fetching is not None:
            fetching.cancel()
            await asyncio.gather(fetching, return_exceptions=True)

    @property
    def _age_s(self) -> float:
        return self._clock.monotonic() - self._known_at

    def _begin(self) -> asyncio.Task[None] | None:
        """Return the running fetch, started if needed; None in the pause after a failed fetch."""
        if self._fetching is None:
            if self._clock.monotonic() - self._failed_at < self._settings.pause_s:
                return None
            self._fetch_began_at = self._clock.monotonic()
            self._fetching = run_job("supported-currencies", self._run())
        return self._fetching

    async def _wait(self, deadline: Deadline) -> None:
        """Wait for a fetch, but not for one that other mints have already waited for too long."""
        fetching = self._begin()
        if fetching is None:
            return
        waited_s = self._clock.monotonic() - self._fetch_began_at
        wait_s = min(self._settings.wait_s - waited_s, deadline.remaining() / 2)
        if wait_s > 0:
            await asyncio.wait([fetching], timeout=wait_s)

    async def _run(self) -> None:
        began_at = self._clock.monotonic()
        known: frozenset[str] = frozenset()
        try:
            known = await self._fetch(Deadline.after(self._settings.fetch_s, self._clock))
        except GatewayError:
            known = frozenset()  # counted where it was raised; it has no effect here
        finally:
            self._fetching = None
            if known:
                # The age counts from the beginning of the fetch, because later changes may be missing.
                self._known, self._known_at = known, began_at
            else:
                self._failed_at = self._clock.monotonic()
