"""Phoenix's platform key: from memory, else from the shared cache, else from one fetch that all waiting calls share.

Signatures are checked with `current`. If one does not match, `fresher` waits for a fetch that BEGINS after the call.
Only with such a key may the gateway call a signature bad. At most one fetch begins per cooldown, also after failures:
in the process always, in the fleet while Redis is reachable. Forged calls cannot cause more fetches.

One task (`_serve`) makes all fetches, one after the other, while calls wait. Tickets (fetch_waiters.py) decide which
fetch answers which call; between replicas, nonces decide it (shared_key.py, shared_key_client.py). accepted_keys.py
decides which key is valid. Source: API.md, WalletService.

A configured file is replaced by people, so Phoenix may sign with a new one before they have done it. `is_outdated` asks
what Phoenix publishes, which only keeps a call from a final refusal and never verifies one.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from gateway.core.ed25519 import KeyRefused, VerifyingKey, find_verifying_key
from gateway.core.types import Environment, KeyId
from gateway.keys.descriptions import KeyDescription
from gateway.keys.platform.accepted_keys import AcceptedKeys
from gateway.keys.platform.fetch_waiters import FetchWaiters, TooManyWaiters
from gateway.keys.platform.revocations import RevokedKeys
from gateway.keys.platform.settings import KeyUnavailable, PlatformKeySettings
from gateway.keys.platform.shared_key import KeyEntry, Nonce, PollResult, SharedKeyCache
from gateway.keys.platform.shared_key_client import SharedKeyClient
from gateway.keys.platform.state import PlatformKey, RetiredKey
from gateway.resilience.clock import Clock
from gateway.resilience.deadline import Deadline
from gateway.resilience.supervision import run_job
from gateway.telemetry.spans import PLATFORM_KEY, child
from gateway.telemetry.trouble import TroubleLog

LEASE_MARGIN_S = 0.2
"""The lease lasts this much longer than the cooldown, and its holder begins its fetch within this time or not at all.
So two fetches begin at least one cooldown apart, although each begins a little after its lease."""
POLL_S = 0.05
_ADVICE = "wallet calls that do not verify with the known key get 503; run phoenix-gateway doctor"
_OUTDATED = "Phoenix signs with a key that it publishes and that is not the configured one."
_OUTDATED_ADVICE = (
    "webhooks under that key get 503: compare it with Phoenix over another channel and set it as "
    "PREDICTION_PLATFORM_KEY or its file"
)
RETRY_S = 5.0
NEVER_FETCHED = float("-inf")


class PlatformKeys:
    """The platform key of one prediction host and environment."""

    def __init__(
        self,
        *,
        fetch: Callable[[float], Awaitable[bytes]] | None,
        clock: Clock,
        settings: PlatformKeySettings | None = None,
        shared: SharedKeyCache | None = None,
        static_key: VerifyingKey | None = None,
        on_event: Callable[[str], None] = lambda name: None,
        revoked: RevokedKeys | None = None,
        origin: str = "",
        published: PlatformKeys | None = None,
    ) -> None:
        """Start without a key, or with the configured one.

        Args: `fetch` takes its time limit in seconds and returns the document with the key, of bounded size: the answer
        of the well-known route, or the content of the file that is configured. None: the configured key never changes.
        `on_event` receives the names of events to count. `revoked`: the revoked keys that this machine remembers.
        `origin`: the host or file of the key, for the log. `published`: what Phoenix publishes, for a configured file.
        Raises: KeyRefused if the configured key is not pinned.
        """
        self._fetch = fetch
        self._origin = TroubleLog("platform key", address=origin, advice=_ADVICE)
        self._published = published
        self._outdated = TroubleLog("configured platform key", address=origin, advice=_OUTDATED_ADVICE)
        self._clock = clock
        self._settings = settings or PlatformKeySettings()
        self._on_event = on_event
        self.is_static = fetch is None
        """Whether the key is configured and never read again."""
        self._accepted = AcceptedKeys(
            clock=clock, settings=self._settings, revoked=revoked, is_static=self.is_static, on_event=on_event
        )
        if static_key is not None:
            self._accepted.check(static_key)
            self._accepted.install(static_key, fetched_at=clock.now())
        # A waiter gets a key, or a text that says why there is none.
        self._waiters = FetchWaiters[PlatformKey | str](
            max_waiting=self._settings.max_waiting, max_bytes=self._settings.max_waiting_bytes
        )
        self._lease_s = self._settings.cooldown_s + LEASE_MARGIN_S
        self._shared = SharedKeyClient(shared=shared, lease_ms=round(self._lease_s * 1000), on_event=on_event)
        self._fetch_began = NEVER_FETCHED
        self._server: asyncio.Task[None] | None = None
        self._loading: asyncio.Task[None] | None = None

    def current(self) -> PlatformKey | None:
        """Return the valid key from memory."""
        return self._accepted.state.current

    def retired(self) -> tuple[VerifyingKey, ...]:
        """Return the keys replaced within the overlap and not revoked, newest first. They give `KEY_RETIRED`."""
        self._accepted.take_revoked()
        return tuple(one.key for one in self._accepted.retired())

    def previous(self) -> VerifyingKey | None:
        """Return the newest retired key."""
        return next(iter(self.retired()), None)

    async def revoke(self, key_id: KeyId) -> bool:
        """Never accept this key again, not as a retired key and not from a fetch. Inform the other processes.

        Returns: False if it is the current key; then nothing changes.
        Raises: StoreUnavailable if the key is revoked in this process only, because no other one could be informed.
        """
        current = self._accepted.state.current
        if current is not None and current.key.key_id == key_id:
            return False
        revoked = self._accepted.revoke(key_id)
        self._accepted.keep_revoked(key_id, is_published=await self._shared.publish_revoked(revoked))
        return True

    def describe(self, environment: Environment) -> list[KeyDescription]:
        """Describe the current key and the retired ones."""
        return self._accepted.describe(environment)

    async def first(self, deadline: Deadline, size_bytes: int = 0) -> PlatformKey:
        """Return the key from memory, else from the shared cache, else from the next fetch.

        Raises: KeyUnavailable.
        """
        if self._accepted.state.current is None and not deadline.expired:
            with child(PLATFORM_KEY, "stored platform key"):
                if self._loading is None or self._loading.done():
                    self._loading = run_job("platform-key-load", self._load_stored())
                # Shielded: a cancelled caller must not cancel the load for the others.
                await asyncio.shield(self._loading)
        return self._accepted.state.current or await self.fresher(deadline, size_bytes)

    async def fresher(self, deadline: Deadline, size_bytes: int = 0) -> PlatformKey:
        """Return the key of a fetch that begins after this call. A configured key is returned at once.

        Args: `size_bytes`: the memory that the caller holds while it waits.
        If a caller is cancelled, the fetch continues for the others.
        Raises: KeyUnavailable if the fetch fails, the deadline passes, or too many calls wait.
        """
        if self.is_static and self._accepted.state.current is not None:
            return self._accepted.state.current
        if deadline.expired:
            raise KeyUnavailable("The deadline passed before Phoenix's platform key was available. Allow more time.")
        try:
            waiter = self._waiters.enter(size_bytes, self._clock.monotonic())
        except TooManyWaiters:
            self._on_event("platform_key_waiting_room_full")
            raise KeyUnavailable("Too many calls wait for Phoenix's platform key. Try again later.") from None
        with child(PLATFORM_KEY):
            self._ensure_served()
            try:
                async with asyncio.timeout(deadline.remaining()):
                    answer = await waiter.answer
            except TimeoutError:
                raise KeyUnavailable from None
            finally:
                self._waiters.leave(waiter)
            if isinstance(answer, str):
                raise KeyUnavailable(answer)
            return answer

    async def is_outdated(self, body: bytes, signature: bytes, deadline: Deadline) -> bool:
        """Tell whether Phoenix publishes a key, other than the configured one, that verifies this call.

        Ask only when `fresher` does not verify it. False if nothing is configured: `fresher` is the published key then.
        Raises: KeyUnavailable if the published key cannot be had in time, so that nobody knows.
        """
        if self._published is None:
            return False
        key = (await self._published.fresher(deadline, len(body))).key
        self._accepted.take_revoked()
        if key.key_id in self._accepted.state.revoked or not key.verify(body, signature):
            return False
        self._on_event("platform_key_outdated")
        self._outdated.failed(KeyUnavailable(_OUTDATED))
        return True

    async def run(self) -> None:
        """Fetch a key at once, and a fresh one about every `refresh_s`, until cancelled; return if it is static."""
        longest_wait_s = self._longest_wait_s() + self._settings.fetch_timeout_s + self._settings.cooldown_s
        while not self.is_static:
            deadline = Deadline.after(longest_wait_s, self._clock)
            try:
                await (self.fresher(deadline) if self._accepted.state.current else self.first(deadline))
            except KeyUnavailable:
                pause_s = min(self._settings.refresh_s, max(self._settings.cooldown_s, RETRY_S))
            else:
                pause_s = self._settings.refresh_s
            await asyncio.sleep(pause_s * random.uniform(0.9, 1.1))  # noqa: S311  spreads load; not a secret

    async def stop(self) -> None:
        """Cancel a running fetch. Calls that still wait get the answer that there is no key."""
        if self._published is not None:
            await self._published.stop()
        if self._server is not None:
            self._server.cancel()
            await asyncio.gather(self._server, return_exceptions=True)

    def _ensure_served(self) -> None:
        if self._server is None or self._server.done():
            self._server = run_job("platform-key", self._serve())

    async def _serve(self) -> None:
        """Answer the waiters until none is left."""
        try:
            while len(self._waiters):
                await self._step()
        finally:
            # Waiters are left only if this task was cancelled or failed. No call may wait for a task that has ended.
            self._answer(
                self._waiters.last_ticket, "This gateway is not fetching the platform key now. Try again later."
            )

    async def _step(self) -> None:
        """Poll the shared cache; fetch if this replica has the lease; otherwise wait a little."""
        asked_at = self._clock.monotonic()
        cooldown_left = self._fetch_began + self._settings.cooldown_s - asked_at
        polled = await self._shared.poll(self._waiters.last_ticket, want_lease=cooldown_left <= 0)
        if polled is not None:
            self._learn(polled)
            if polled.revoked is not None and not self._accepted.state.revoked <= polled.revoked:
                await self._shared.publish_revoked(self._accepted.state.revoked)  # the list in Redis lost our entries
        leased = polled is not None and polled.leased
        # Without a shared cache, or if it has no result for too long, only this process's own cooldown applies.
        alone = polled is None or self._waits_too_long()
        if cooldown_left <= 0 and (leased or alone):
            others = await self._shared.take_requests() if leased else frozenset()
            if alone or self._clock.monotonic() - asked_at <= LEASE_MARGIN_S:
                await self._fetch_once(others, polled)
                return
            self._on_event("platform_key_lease_missed")
        await asyncio.sleep(min(max(cooldown_left, 0.001), POLL_S) if polled is None else POLL_S)

    async def _fetch_once(self, others: frozenset[Nonce], polled: PollResult | None) -> None:
        """Fetch, and answer every call that arrived before the fetch began, here and in other replicas.

        Args: `polled`: what was published before. Its keys may be the replaced ones now, and a replica that has just
        started knows them from there only. Unread, it is not overwritten.
        """
        covered, answered = self._waiters.last_ticket, others | self._shared.own_requests()
        self._fetch_began, began_at = self._clock.monotonic(), self._clock.now()
        key = await self._fetch_key()
        if key is None:
            self._answer(covered, "Phoenix's platform key could not be fetched or was refused. Try again later.")
            await self._shared.publish_failure(answered)
            return
        current = self._install(key, fetched_at=began_at)
        if polled is not None and polled.entry is not None:
            before = RetiredKey(key=polled.entry.key, retired_at=self._clock.now())
            self._accepted.remember((before, *polled.entry.retired))
        self._answer(covered, current)
        if polled is None or polled.revoked is None:
            return
        entry = KeyEntry(key=key, began_at=began_at, answered=answered, retired=self._accepted.retired())
        await self._shared.publish(entry)

    async def _fetch_key(self) -> VerifyingKey | None:
        """Fetch a key and check it. None: it failed, and the failure was counted."""
        limit_s = self._settings.fetch_timeout_s
        assert self._fetch is not None, "a static key answers before anything is fetched"
        self._on_event("platform_key_fetch_began")
        try:
            async with asyncio.timeout(limit_s):
                document = await self._fetch(limit_s)
        except Exception as error:  # noqa: BLE001  after any error the waiters need an answer and the key stays
            self._on_event("platform_key_fetch_failed")
            self._origin.failed(error)
            return None
        try:
            key = find_verifying_key(document)
            self._accepted.check(key)
        except KeyRefused as refused:
            self._on_event("platform_key_refused")
            self._origin.failed(refused, trouble=str(refused))
            return None
        self._origin.works()
        return key

    def _install(self, key: VerifyingKey, *, fetched_at: float) -> PlatformKey:
        current, replaced = self._accepted.install(key, fetched_at=fetched_at)
        if replaced:
            self._outdated.works()
        return current

    def _answer(self, up_to: int, answer: PlatformKey | str) -> None:
        self._waiters.answer(up_to, answer)
        self._shared.settle(up_to)

    def _learn(self, polled: PollResult) -> None:
        """Answer the calls whose nonces a published fetch lists. Other published entries prove nothing."""
        self._accepted.take_revoked(polled.revoked or frozenset())
        covered = 0 if polled.entry is None else self._shared.covered_by(polled.entry.answered)
        if polled.entry is not None and covered and (adopted := self._adopt(polled.entry)) is not None:
            self._on_event("platform_key_shared")
            self._answer(covered, adopted)
        if covered := self._shared.covered_by(polled.failed):
            self._answer(covered, "Another replica could not fetch Phoenix's platform key. Try again later.")

    def _adopt(self, entry: KeyEntry) -> PlatformKey | None:
        """Install another replica's key if this replica accepts it too."""
        try:
            self._accepted.check(entry.key)
        except KeyRefused:
            self._on_event("platform_key_refused")
            return None
        current = self._install(entry.key, fetched_at=entry.began_at)
        self._accepted.remember(entry.retired)
        return current

    async def _load_stored(self) -> None:
        """Install the key from the shared cache, unless there is already a key."""
        entry = await self._shared.stored()
        if entry is not None and self._accepted.state.current is None:
            self._adopt(entry)

    def _waits_too_long(self) -> bool:
        """Tell whether a call waits longer than a fleet ever needs. Then no replica of ours holds the lease."""
        oldest = self._waiters.oldest_arrival
        return oldest is not None and self._clock.monotonic() - oldest > self._longest_wait_s()

    def _longest_wait_s(self) -> float:
        return 3 * self._lease_s + self._settings.fetch_timeout_s
