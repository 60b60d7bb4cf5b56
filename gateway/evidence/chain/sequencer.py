"""The sequencer: it chains committed evidence in the background. One process per database does this at a time.

About every half second, each process checks whether lines wait. The process with the lease chains them. If it dies, the
lease expires and another process takes over. Claims and outcomes never wait for the sequencer. steps.py has the
transactions.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from gateway.errors import StoreUnavailable
from gateway.evidence.chain.blocks import Block, BlockSigner
from gateway.evidence.chain.steps import Chained, ChainStatus, Duty, chain_once, chain_status, release
from gateway.resilience.clock import Clock
from gateway.store.database import Database
from gateway.telemetry.logs import log, where_raised


@dataclass(frozen=True, slots=True, kw_only=True)
class SequencerSettings:
    """How often the sequencer checks, and how long its lease lasts."""

    every_s: float = 0.6
    """Time between two checks: with the step itself, less than the second within which records must be chained."""
    lease_s: float = 3.0
    """A dead holder is replaced after this time. The lease is renewed only while lines wait."""
    after_trouble_s: float = 2.0
    limit_s: float = 5.0
    """The longest time for one check or step."""
    head_logged_every_s: float = 60.0
    """How often the head of a growing chain is logged. In logs that are stored elsewhere, it proves the chain's end."""
    stop_within_s: float = 2.0


class ChainObserver(Protocol):
    """Counts the work of the sequencer. `telemetry.metrics.Metrics` implements it."""

    def evidence_chained(self, entries: int) -> None:
        """Count chained lines."""
        ...

    def chain_waits(self, seconds: float) -> None:
        """Record for how long the oldest line has waited; 0 if none waits."""
        ...

    def chain_failed(self, kind: str) -> None:
        """Count a failed step: `unavailable` (the store) or `broken` (any other error, which needs an operator)."""
        ...


class Sequencer:
    """The sequencer of one process. `signer_of` returns the signing key; every step calls it."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        signer_of: Callable[[], BlockSigner | None],
        *,
        settings: SequencerSettings | None = None,
        observer: ChainObserver | None = None,
    ) -> None:
        self._database = database
        self._clock = clock
        self._signer_of = signer_of
        self._settings = settings or SequencerSettings()
        self._observer = observer
        self._holder = uuid.uuid4().hex
        self._lease_us = round(self._settings.lease_s * 1_000_000)
        self._is_holder = False
        self._stored_key_id: str | None = None
        self._oldest: int | None = None
        self._seen_at = 0.0
        self._logged_at: dict[tuple[str, str], float] = {}
        self._heads: dict[tuple[str, str], Block] = {}

    async def run(self) -> None:
        """Chain until cancelled. No failure of the store ends it."""
        while True:
            pause_s = self._settings.every_s
            try:
                await self.step()
            except StoreUnavailable:
                self._count_failure("unavailable")
                pause_s = self._settings.after_trouble_s
            except Exception as error:  # noqa: BLE001 - a chain that cannot continue must not stop money moves
                self._count_failure("broken")
                log().error("evidence is not chained", **where_raised(error))
                pause_s = self._settings.after_trouble_s
            await asyncio.sleep(pause_s)

    async def step(self) -> bool:
        """Chain all waiting lines if this process has, or gets, the lease. Return whether. Raises: StoreUnavailable."""
        limit_s, lease_us = self._settings.limit_s, self._lease_us
        status = await self._database.read(
            lambda connection, _now: chain_status(connection, self._holder, lease_us), limit_s
        )
        self._record_wait(status)
        if status.duty is not Duty.OWN:
            return False
        more = True
        while more:
            chained = await self._chain_once()
            self._is_holder = chained.is_holder
            self._record_progress(chained)
            more = chained.more
        return self._is_holder

    async def stop(self) -> None:
        """Chain the waiting lines and release the lease, if this process has it. Call it after `run` is cancelled."""
        try:
            async with asyncio.timeout(self._settings.stop_within_s):
                await self.step()
                if self._is_holder:
                    await self._database.write(
                        lambda connection, now: release(connection, now, self._holder), self._settings.limit_s
                    )
        except (StoreUnavailable, TimeoutError):
            log().info("the lease of the evidence chain was not released; it expires")
        for scope, head in self._heads.items():
            self._log_head(scope, head)

    async def _chain_once(self) -> Chained:
        signer = self._signer_of()
        key_id = "" if signer is None else signer.key_id
        lease_us, is_key_stored = self._lease_us, key_id == self._stored_key_id
        chained = await self._database.write(
            lambda connection, now_us: chain_once(
                connection, now_us, holder=self._holder, lease_us=lease_us, signer=signer, is_key_stored=is_key_stored
            ),
            self._settings.limit_s,
        )
        if chained.entries:
            self._stored_key_id = key_id
        return chained

    def _record_wait(self, status: ChainStatus) -> None:
        now = self._clock.monotonic()
        if status.oldest is None or status.oldest != self._oldest:
            self._oldest, self._seen_at = status.oldest, now
        if self._observer is not None:
            self._observer.chain_waits(now - self._seen_at)

    def _record_progress(self, chained: Chained) -> None:
        if self._observer is not None and chained.entries:
            self._observer.evidence_chained(chained.entries)
        now = self._clock.monotonic()
        for head in chained.heads:
            scope = (head.header.operator_code, head.header.environment)
            self._heads[scope] = head
            if now - self._logged_at.get(scope, float("-inf")) >= self._settings.head_logged_every_s:
                self._logged_at[scope] = now
                self._log_head(scope, head)
                del self._heads[scope]

    def _log_head(self, scope: tuple[str, str], head: Block) -> None:
        log().info("evidence head", operator=scope[0], environment=scope[1], **head_fields(head))

    def _count_failure(self, kind: str) -> None:
        if self._observer is not None:
            self._observer.chain_failed(kind)


def head_fields(head: Block) -> Mapping[str, str | int]:
    """Return the log fields of a head, with which a later export can be compared."""
    return {
        "block": head.header.number,
        "block_hash": head.hash,
        "entries": head.header.first_sequence + head.header.entry_count - 1,
        "key_id": head.header.key_id,
    }
