"""Writes how events ended to the memory that replicas share, behind the answers to their callers.

Changes gather while a write is under way, so many calls share one. While the shared memory cannot be reached, the
changes wait for it, so that replicas know afterwards what was sent meanwhile; above a bound the oldest are dropped and
counted. A deleted id does not wait: its entry expires within minutes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from gateway.core.event_ids import OwnEntry, RememberedEvent, combined
from gateway.core.types import TenantId
from gateway.resilience.supervision import run_job


class Change(NamedTuple):
    """An event id and its new entry. None deletes the entry that the claim wrote, `own`, and no other."""

    event_id: str
    entry: RememberedEvent | None
    own: OwnEntry


Write = Callable[[TenantId, Sequence[Change]], Awaitable[bool]]
"""Returns whether the changes were written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteSettings:
    """Bounds."""

    max_waiting: int = 20_000
    """Changes that wait; about 10 MiB."""
    max_at_once: int = 1000
    """Changes in one write, which is one command of Redis."""
    retry_after_s: float = 1.0
    """Pause while the shared memory cannot be reached."""
    close_within_s: float = 1.0
    """How long `close` waits for the last write."""


class SharedWrites:
    """The changes of all tenants that are not written yet."""

    def __init__(
        self,
        write: Write,
        settings: WriteSettings | None = None,
        *,
        on_event: Callable[[str], None] = lambda name: None,
    ) -> None:
        """Args: `write` must not raise. `on_event` receives event_id_not_shared for each change that is dropped."""
        self._write = write
        self._settings = settings or WriteSettings()
        self._on_event = on_event
        self._waiting: dict[tuple[TenantId, str], Change] = {}
        self._under_way: frozenset[tuple[TenantId, str]] = frozenset()
        self._job: asyncio.Task[None] | None = None
        self._round = asyncio.Event()
        """Set when the write that is under way ends; there is a new one then."""
        self._is_pausing = False
        self._closing = asyncio.Event()

    def __len__(self) -> int:
        """How many changes wait."""
        return len(self._waiting)

    def add(self, tenant_id: TenantId, changes: Sequence[Change]) -> None:
        """Write these changes soon."""
        for change in changes:
            key = (tenant_id, change.event_id)
            self._waiting[key] = _both(self._waiting.pop(key, None), change)  # the newest change is last
        while len(self._waiting) > self._settings.max_waiting:
            self._drop(next(iter(self._waiting)))
        if self._waiting and (self._job is None or self._job.done()):
            self._job = run_job("event-ids", self._write_all())

    def holds(self, tenant_id: TenantId, event_ids: Iterable[str]) -> bool:
        """Whether a change of one of these ids is not written yet."""
        keys = ((tenant_id, event_id) for event_id in event_ids)
        return bool(self._waiting or self._under_way) and any(
            key in self._waiting or key in self._under_way for key in keys
        )

    async def written(self, tenant_id: TenantId, event_ids: Sequence[str], within_s: float) -> None:
        """Return when the changes of these ids are written, or after this time; at once if they have to wait."""
        try:
            async with asyncio.timeout(max(within_s, 0.0)):
                while not self._is_pausing and self.holds(tenant_id, event_ids):
                    await self._round.wait()
        except TimeoutError:
            pass

    async def close(self) -> None:
        """Write what waits, for a limited time."""
        self._closing.set()
        if self._job is not None:
            await asyncio.wait({self._job}, timeout=self._settings.close_within_s)
            self._job.cancel()
            await asyncio.gather(self._job, return_exceptions=True)
        for key in list(self._waiting):
            self._drop(key)

    async def _write_all(self) -> None:
        while self._waiting:
            tenant_id, changes = self._take()
            self._under_way = frozenset((tenant_id, change.event_id) for change in changes)
            is_written = False
            try:
                is_written = await self._write(tenant_id, changes)
            finally:
                self._under_way = frozenset()
                self._is_pausing = not is_written
                self._round.set()
                self._round = asyncio.Event()
                for change in () if is_written else changes:
                    key = (tenant_id, change.event_id)
                    newer = self._waiting.get(key)
                    if change.entry is not None:
                        self._waiting[key] = change if newer is None else _both(change, newer)
            if is_written:
                continue
            if self._closing.is_set():
                return
            try:
                await asyncio.wait_for(self._closing.wait(), self._settings.retry_after_s)
            except TimeoutError:
                pass
            self._is_pausing = False

    def _take(self) -> tuple[TenantId, list[Change]]:
        """Return the oldest changes of the tenant whose turn it is."""
        tenant_id = next(iter(self._waiting))[0]
        keys = [key for key in self._waiting if key[0] == tenant_id][: self._settings.max_at_once]
        return tenant_id, [self._waiting.pop(key) for key in keys]

    def _drop(self, key: tuple[TenantId, str]) -> None:
        if self._waiting.pop(key).entry is not None:
            self._on_event("event_id_not_shared")


def _both(older: Change | None, newer: Change) -> Change:
    """Return the one change that replaces both. A claim takes back its own result only."""
    if older is None or older.entry is None or older.own is newer.own:
        return newer
    if newer.entry is None:
        return older
    return newer._replace(entry=combined(older.entry, newer.entry))
