"""The sequencer: chains committed evidence in the background, in one of all processes on a database at a time.

Every process looks each half second or so whether something waits. The one with the lease chains it; when it dies,
the lease runs out and whoever looks next takes over. Claims and outcomes wait for none of this. Leaves what a step does
to chain_steps.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from gateway.errors import StoreUnavailable
from gateway.evidence.chain.blocks import Block, BlockSigner
from gateway.evidence.chain.steps import Chained, Duty, Look, chain_once, look_at, release
from gateway.resilience.clock import Clock
from gateway.store.database import Database
from gateway.telemetry.logs import log, where_raised


@dataclass(frozen=True, slots=True, kw_only=True)
class SequencerSettings:
    """How often the sequencer looks, and how long it stays the one."""

    every_s: float = 0.6
    """Between two looks: with the step itself, less than the second in which records are to be chained."""
    lease_s: float = 3.0
    """A dead holder is replaced after this. Only while something waits is the lease renewed."""
    after_trouble_s: float = 2.0
    limit_s: float = 5.0
    """The longest that one look or step may take."""
    head_logged_every_s: float = 60.0
    """A chain that grows has its head in the log this often: in logs kept elsewhere it proves where the end was."""
    stop_within_s: float = 2.0


class ChainObserver(Protocol):
    """Counts; `telemetry.metrics.Metrics` is one."""

    def evidence_chained(self, entries: int) -> None:
        """So many lines were chained."""
        ...

    def chain_waits(self, seconds: float) -> None:
        """For how long the oldest line that is not chained has been seen to wait; 0: none does."""
        ...

    def chain_failed(self, kind: str) -> None:
        """A step failed: `unavailable` (the store) or `broken` (anything else, which does not mend itself)."""
        ...


class Sequencer:
    """One process's part in it. `signer_of` gives the key to sign with, looked up anew for every step."""

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
        self._is_holder = False
        self._kept_key_id: str | None = None
        self._oldest: int | None = None
        self._seen_at = 0.0
        self._logged_at: dict[tuple[str, str], float] = {}
        self._heads: dict[tuple[str, str], Block] = {}

    async def run(self) -> None:
        """Chain until cancelled; no trouble of the store's ends it."""
        while True:
            pause_s = self._settings.every_s
            try:
                await self.step()
            except StoreUnavailable:
                self._note_failure("unavailable")
                pause_s = self._settings.after_trouble_s
            except Exception as error:  # noqa: BLE001 - a chain that cannot go on must not end the money path
                self._note_failure("broken")
                log().error("evidence is not chained", **where_raised(error))
                pause_s = self._settings.after_trouble_s
            await asyncio.sleep(pause_s)

    async def step(self) -> bool:
        """Chain all that waits, if this process is the one; tell whether it was. Raises: StoreUnavailable."""
        limit_s = self._settings.limit_s
        look = await self._database.read(lambda connection, now: look_at(connection, now, self._holder), limit_s)
        self._note_look(look)
        if look.duty is not Duty.OWN:
            return False
        more = True
        while more:
            chained = await self._chain_once()
            self._is_holder = chained.is_holder
            self._note(chained)
            more = chained.more
        return self._is_holder

    async def stop(self) -> None:
        """Chain what waits and give the lease back, if this process has it; call it after `run` was cancelled."""
        try:
            async with asyncio.timeout(self._settings.stop_within_s):
                await self.step()
                if self._is_holder:
                    await self._database.write(
                        lambda connection, now: release(connection, now, self._holder), self._settings.limit_s
                    )
        except (StoreUnavailable, TimeoutError):
            log().info("the lease of the evidence chain was not given back; it runs out")
        for scope, head in self._heads.items():
            self._log_head(scope, head)

    async def _chain_once(self) -> Chained:
        signer = self._signer_of()
        key_id = "" if signer is None else signer.key_id
        lease_us, is_key_kept = round(self._settings.lease_s * 1_000_000), key_id == self._kept_key_id
        chained = await self._database.write(
            lambda connection, now_us: chain_once(
                connection, now_us, holder=self._holder, lease_us=lease_us, signer=signer, is_key_kept=is_key_kept
            ),
            self._settings.limit_s,
        )
        if chained.entries:
            self._kept_key_id = key_id
        return chained

    def _note_look(self, look: Look) -> None:
        now = self._clock.monotonic()
        if look.oldest is None or look.oldest != self._oldest:
            self._oldest, self._seen_at = look.oldest, now
        if self._observer is not None:
            self._observer.chain_waits(now - self._seen_at)

    def _note(self, chained: Chained) -> None:
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
        log().info("evidence head", operator=scope[0], environment=scope[1], **told_of(head))

    def _note_failure(self, kind: str) -> None:
        if self._observer is not None:
            self._observer.chain_failed(kind)


def told_of(head: Block) -> Mapping[str, str | int]:
    """Return what a log line says of a head: enough to hold a later export against it."""
    return {
        "block": head.header.number,
        "block_hash": head.hash,
        "entries": head.header.first_sequence + head.header.entry_count - 1,
        "key_id": head.header.key_id,
    }
