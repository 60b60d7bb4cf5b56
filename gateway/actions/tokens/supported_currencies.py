"""Which currencies an operator supports, as the Operator API tells them; for operators that configure none.

A token with a wrong currency is refused by Phoenix at connect and harms nobody; a token refused here by mistake locks a
player out. So a currency is refused only by a list that was fetched just now, and any trouble lets it pass: then its
form alone was checked. Phoenix being down costs one mint half a second, not more often than once a minute.
Source: issue 7, point 6.
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
    """How long what is known. Seconds."""

    fresh_s: float = 300.0
    """A list this old is fetched again behind a mint that it lets pass."""
    certain_s: float = 10.0
    """A list no older than this refuses; an older one is fetched again first. Also the least time between fetches."""
    pause_s: float = 60.0
    """Time without another fetch after one that failed."""
    wait_s: float = 0.5
    """Longest that a mint waits for a fetch."""
    fetch_s: float = 5.0
    """Longest that a fetch takes."""


class SupportedCurrencies:
    """One operator environment's list; at most one fetch is under way."""

    def __init__(self, fetch: FetchCurrencies, clock: Clock, settings: CurrencySettings | None = None) -> None:
        """Know nothing yet. `fetch` raises a GatewayError where Phoenix cannot be asked; an empty list says nothing."""
        self._fetch = fetch
        self._clock = clock
        self._settings = settings or CurrencySettings()
        self._known: frozenset[str] = frozenset()
        self._known_at = float("-inf")
        self._failed_at = float("-inf")
        self._fetch_began_at = float("-inf")
        self._fetching: asyncio.Task[None] | None = None

    async def refused(self, currency: str, deadline: Deadline) -> frozenset[str] | None:
        """Return the supported currencies if `currency` certainly is none of them; None if it may pass."""
        if currency in self._known:
            if self._age_s > self._settings.fresh_s:
                self._begin()
            return None
        if self._age_s > self._settings.certain_s:
            await self._wait(deadline)
        certainly = self._known and self._age_s <= self._settings.certain_s and currency not in self._known
        return self._known if certainly else None

    async def stop(self) -> None:
        """End a fetch that is under way."""
        fetching = self._fetching
        if fetching is not None:
            fetching.cancel()
            await asyncio.gather(fetching, return_exceptions=True)

    @property
    def _age_s(self) -> float:
        return self._clock.monotonic() - self._known_at

    def _begin(self) -> asyncio.Task[None] | None:
        """Return the fetch under way, begun if need be; None in the pause after one that failed."""
        if self._fetching is None:
            if self._clock.monotonic() - self._failed_at < self._settings.pause_s:
                return None
            self._fetch_began_at = self._clock.monotonic()
            self._fetching = run_job("supported-currencies", self._run())
        return self._fetching

    async def _wait(self, deadline: Deadline) -> None:
        """Wait for a fetch, but not for one that has kept others waiting in vain already."""
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
            known = frozenset()  # counted where it was raised; it decides nothing here
        finally:
            self._fetching = None
            if known:
                # Counted from its beginning: what changed since may not be in it.
                self._known, self._known_at = known, began_at
            else:
                self._failed_at = self._clock.monotonic()
