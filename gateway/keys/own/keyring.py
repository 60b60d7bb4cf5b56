"""Our own keys, by tenant and by operator environment: describe them, rotate them.

gateway/config reads the entries; load_keys.py loads them at the start; versions.py decides which version of a key is in
use; signing.py signs with it. Every call looks up a key, so the current keys are in two tables, which are rebuilt after
a change.
Source: API.md, settings and KeyService.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from gateway.core.key_trial import TrialResult
from gateway.core.sealing import SealKeys
from gateway.core.secret import Secret
from gateway.core.tokens import TOKEN_BACKDATE_S
from gateway.core.types import Environment, OperatorCode, TenantId
from gateway.keys.descriptions import KeyDescription, KeyKind, PublishedKey
from gateway.keys.own import managed_key
from gateway.keys.own.entries import KeyFault, KeyringRefused, OperatorEntry, OperatorKeys, TenantEntry, TenantKeys
from gateway.keys.own.load_keys import load_keys
from gateway.keys.own.loaded_secret import ANNOUNCED
from gateway.keys.own.managed_key import ManagedKey
from gateway.keys.own.signer_versions import SignerVersions
from gateway.keys.own.signing import SigningKeys
from gateway.keys.own.trials import TRIAL_ROUND_EVERY_S, Trial
from gateway.keys.own.versions import Version
from gateway.keys.signers.signing_queue import LaunchKey
from gateway.keys.sources.secret_files import SecretSource
from gateway.keys.sources.secret_store import StoredSecret
from gateway.resilience.clock import Clock
from gateway.resilience.supervision import run_job

__all__ = ["KeyFault", "Keyring", "KeyringRefused", "OperatorEntry", "OperatorKeys", "TenantEntry", "TenantKeys"]

T = TypeVar("T")
WATCH_EVERY_S = 0.5
"""A new file is read at the second check, so a replica shows a new key about a second after the file was written."""
ASK_STORES_EVERY_S = 1.0
"""A wrong key must not make every call ask the stores."""


class Keyring(SigningKeys):
    """All of our own keys, loaded and tested."""

    def __init__(
        self,
        *,
        tenants: Sequence[TenantEntry],
        operators: Sequence[OperatorEntry],
        clock: Clock,
        on_event: Callable[[str], None] = lambda name: None,
        trial: Trial | None = None,
        seal_keys: tuple[SealKeys, SecretSource] | None = None,
        token_backdate_s: int = TOKEN_BACKDATE_S,
    ) -> None:
        """Load every key.

        Args: `on_event`: receives the names of events to count. `trial`: tries a new key at Phoenix before it takes
        over; None: new keys are not tried. `seal_keys`: the seal keys that the caches use, and their source; they are
        updated when the source changes. `token_backdate_s`: how far back `iat` of every token is.
        Raises: KeyringRefused with every fault.
        """
        self._clock = clock
        self._on_event = on_event
        self._trial = trial
        self._changing = asyncio.Lock()  # files are checked in a thread
        self._trial_round: asyncio.Task[None] | None = None
        self._asking: asyncio.Task[None] | None = None
        self._trial_round_at = self._changed_at = self._found_at = self._asked_at = float("-inf")
        self._entries = {entry.tenant_id: entry for entry in tenants}
        self._operator_entries = {(entry.operator_code, entry.environment): entry for entry in operators}
        self._seal_keys = None if seal_keys is None else seal_keys[0]
        source = None if seal_keys is None else seal_keys[1]
        keys = load_keys(tenants, operators, source, clock, tried=trial is not None, on_event=on_event)
        self._secrets, self._signing, self._stored, self._seals = keys.secrets, keys.signing, keys.stored, keys.seals
        self._in_use: dict[tuple[KeyKind, str, Environment | None], str] = {}
        super().__init__({}, {}, token_backdate_s=token_backdate_s)
        self._rebuild_tables()

    def tenants(self) -> tuple[TenantId, ...]:
        """The configured tenants, in their order."""
        return tuple(self._entries)

    def operators(self) -> tuple[tuple[OperatorCode, Environment], ...]:
        """The configured operator environments, in their order."""
        return tuple(self._operator_entries)

    def in_use(self, kind: KeyKind, owner: str, environment: Environment | None = None) -> str:
        """Return the `key_id` of the current version, as in `describe`; "" if there is no such key."""
        return self._in_use.get((kind, owner, environment), "")

    def describe(self) -> list[KeyDescription]:
        """Describe every version of every key, ordered by kind and owner, newest first."""
        now = self._clock.now()
        rows = [row for one in self._all_keys() for row in one.describe(now)]
        order = list(KeyKind)
        return sorted(rows, key=lambda row: (order.index(row.kind), row.owner, str(row.environment)))

    def published(self) -> list[PublishedKey]:
        """Return the public keys for verifiers: the active one first, then announced and retiring ones."""
        now = self._clock.now()
        return [
            PublishedKey(
                operator_code=code,
                environment=environment,
                key=one.value.public,
                state=held.loaded.versions.state(one, now),
                activated_at=one.activates_at if one.activated_at is None else one.activated_at,
                ends_at=held.loaded.versions.ends_at(one),
            )
            for (code, environment), held in self._signing.items()
            for one in held.loaded.versions.live(now)
            if one.value is not None
        ]

    async def settle(self) -> None:
        """Try recently replaced keys before they are used. Call it once, at the start."""
        await self._try_candidates()

    async def watch(self, every_s: float = WATCH_EVERY_S) -> None:
        """Check the files, outside the event loop, and try new keys, until cancelled."""
        while True:
            await asyncio.sleep(every_s)
            async with self._changing:
                await asyncio.to_thread(self.check_files)
            await self._try_candidates()

    @property
    def uses_stores(self) -> bool:
        """Whether a launch key stays in a store."""
        return bool(self._stored)

    def store_outages(self) -> dict[str, str]:
        """Return each reference of a launch key whose store cannot be asked, with since when and why."""
        return {one.source: one.outage for one in self._stored.values() if one.outage}

    async def follow_stores(self, every_s: float) -> None:
        """Ask the stores of launch keys for new versions, until cancelled. One that is away keeps its known ones."""
        while True:
            await asyncio.sleep(every_s)
            await self.ask_stores()

    async def ask_stores(self) -> None:
        """Ask every store of a launch key for its versions, once."""

        async def ask(named: tuple[OperatorCode, Environment], stored: SignerVersions) -> None:
            found = await stored.ask()
            async with self._changing:
                now = self._clock.now()
                events = stored.adopt(found, now) if isinstance(found, list) else stored.lost(found, now)
                self._report(self._signing[named], events)
                self._note_found(events)
                self._rebuild_tables()

        await asyncio.gather(*(ask(named, stored) for named, stored in self._stored.items()))

    async def stop(self) -> None:
        """Stop signing with keys in stores."""
        await asyncio.gather(*(stored.stop() for stored in self._stored.values()))

    async def on_unauthorized(self, sent_at: float) -> bool:
        """Handle a 401 from Phoenix: try the other versions of the keys, and switch to one that Phoenix accepts.

        Args: `sent_at`: when the request was signed (monotonic). Returns when the request can be sent again, at once if
        there is nothing to try: whether any key has changed since it was signed.
        """
        rejected_at = self._clock.monotonic()
        await self._ask_stores(sent_at)
        while True:
            if self._trial_round is not None and not self._trial_round.done():
                await asyncio.shield(self._trial_round)
            if self._was_tried_since(sent_at, rejected_at):
                return self._changed_at >= sent_at
            wait_s = self._trial_round_at + TRIAL_ROUND_EVERY_S - self._clock.monotonic()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            elif self._trial_round is None or self._trial_round.done():
                self._trial_round_at = self._clock.monotonic()
                self._trial_round = run_job("key-trials", self._try_candidates(after_rejection=True))

    def _was_tried_since(self, sent_at: float, rejected_at: float) -> bool:
        """Whether a round of trials can have found the key that replaces the rejected one; also if none can be found.

        A round that began before the rejection saw Phoenix perhaps before it switched this key. So it is enough only if
        it left no newer version waiting, and if no version was found after it began.
        """
        now = self._clock.now()
        tries = [
            (one, try_[0]) for one in self._all_keys() for try_ in one.loaded.versions.to_try(now, after_rejection=True)
        ]
        is_waiting = any(candidate is not one.loaded.versions.active for one, candidate in tries)
        since = rejected_at if is_waiting else sent_at
        return not tries or self._trial_round_at >= max(since, self._found_at)

    async def _ask_stores(self, sent_at: float) -> None:
        """Look for newer versions in the stores: a rejected key was perhaps replaced there since the last look.

        Returns when they were asked after `sent_at`. All calls share one look.
        """
        stored = [one.loaded.stored for one in self._all_keys() if one.loaded.stored is not None]
        if not (stored or self._stored) or self._trial is None:
            return
        while True:
            if self._asking is not None and not self._asking.done():
                await asyncio.shield(self._asking)
            if self._asked_at >= sent_at:
                return
            wait_s = self._asked_at + ASK_STORES_EVERY_S - self._clock.monotonic()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            elif self._asking is None or self._asking.done():
                self._asked_at = self._clock.monotonic()
                self._asking = run_job("secret-stores-asked", self._refresh(stored))

    async def _refresh(self, stored: Sequence[StoredSecret]) -> None:
        await asyncio.gather(*(asyncio.to_thread(one.refresh) for one in stored))
        async with self._changing:
            await asyncio.to_thread(self.check_files)
        await self.ask_stores()

    def check_files(self) -> None:
        """Check every file once, and read files that changed and have been stable since the previous check."""
        now, changed = self._clock.now(), False
        for one in self._all_keys():
            events = one.loaded.check_files(now)
            self._report(one, events)
            self._note_found(events)
            changed = changed or bool(events)
        if changed:
            self._rebuild_tables()

    def _note_found(self, events: Sequence[str]) -> None:
        if ANNOUNCED in events:
            self._found_at = self._clock.monotonic()

    async def _try_candidates(self, *, after_rejection: bool = False) -> None:
        """Try at Phoenix, concurrently, every key that needs a trial."""
        if self._trial is None:
            return
        now, tries = self._clock.now(), list[tuple[ManagedKey[Any], Version[Any], Awaitable[TrialResult]]]()
        for (tenant_id, kind), secret in self._secrets.items():
            for candidate, other in secret.loaded.versions.to_try(now, after_rejection=after_rejection):
                new, old = (self._tenant_with(tenant_id, kind, one.value) for one in (candidate, other))
                tries.append((secret, candidate, self._trial.tenant(tenant_id, kind, new, old)))
        for (code, environment), signing in self._signing.items():
            for version, before in signing.loaded.versions.to_try(now, after_rejection=after_rejection):
                new, old = (self._operator_with(code, environment, one.value) for one in (version, before))
                tries.append((signing, version, self._trial.operator(code, environment, new, old)))
        if not tries:
            return
        results = await asyncio.gather(*(asking for _, _, asking in tries))
        async with self._changing:
            for (one, tried, _), result in zip(tries, results, strict=True):
                self._record_trial(one, tried, result, after_rejection=after_rejection)
            self._rebuild_tables()

    def _record_trial(
        self, one: ManagedKey[Any], version: Version[Any], result: TrialResult, *, after_rejection: bool
    ) -> None:
        events = one.loaded.record_trial(version, result, self._clock.now(), after_rejection=after_rejection)
        self._report(one, events, version)

    def _report(self, one: ManagedKey[Any], events: list[str], about: Version[Any] | None = None) -> None:
        """Count and log events of this version, or of files that are not in use."""
        for event in events:
            self._on_event(event)
        managed_key.log_events(one, events, self._clock.now(), about)

    def _all_keys(self) -> list[ManagedKey[Any]]:
        return [*self._secrets.values(), *self._signing.values(), *([self._seals] if self._seals else [])]

    def _rebuild_tables(self) -> None:
        """Rebuild the tables of current keys. Each table is replaced as a whole, because calls read it meanwhile."""
        before = self._tenant_keys, self._operator_keys
        self._tenant_keys = {
            tenant_id: TenantKeys(
                tenant_id=tenant_id,
                hmac=_current(self._secrets.get((tenant_id, KeyKind.TENANT_HMAC))),
                api_key=_current(self._secrets.get((tenant_id, KeyKind.ADMIN_API_KEY))),
                api_key_id=entry.api_key_id,
            )
            for tenant_id, entry in self._entries.items()
        }
        self._operator_keys = {
            named: OperatorKeys(
                operator_code=entry.operator_code,
                environment=entry.environment,
                signing_key=_current(self._signing.get(named)),
                operator_id=entry.operator_id,
            )
            for named, entry in self._operator_entries.items()
        }
        self._in_use = {(one.kind, one.owner, one.environment): one.active_id for one in self._all_keys()}
        if before != (self._tenant_keys, self._operator_keys):
            self._changed_at = self._clock.monotonic()
        if self._seals is not None and self._seal_keys is not None:
            self._seal_keys.adopt(managed_key.seal_keys_of(self._seals.loaded, self._clock.now()))

    def _tenant_with(self, tenant_id: TenantId, kind: KeyKind, secret: Secret | None) -> SigningKeys:
        """Return keys that sign as if this version were the tenant's current one."""
        keys = self._tenant_keys[tenant_id]
        changed = replace(keys, hmac=secret) if kind is KeyKind.TENANT_HMAC else replace(keys, api_key=secret)
        return SigningKeys({tenant_id: changed}, {}, token_backdate_s=self.token_backdate_s)

    def _operator_with(self, code: OperatorCode, environment: Environment, key: LaunchKey | None) -> SigningKeys:
        keys = self._operator_keys[code, environment]
        return SigningKeys({}, {(code, environment): replace(keys, signing_key=key)})


def _current(one: ManagedKey[T] | None) -> T | None:
    return None if one is None else one.loaded.current
