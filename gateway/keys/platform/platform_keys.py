"""Phoenix's platform key: from memory, then the shared cache, then one fetch that all who need it share.

`current` is what a signature is checked with. When it does not hold, `fresher` waits for a fetch that BEGINS after that
call; only such a key justifies calling a signature bad. At most one fetch begins per cooldown, in the process always,
in the fleet while Redis is there, after failures too; forged calls cannot force more.

One task (`_serve`) does all fetching, one step after the other, and runs while a call waits. Tickets (fetch_waiters.py)
decide which fetch answers which call; between replicas nonces decide it (shared_key.py, shared_key_client.py). state.py
decides which key counts. The caller says how bytes are fetched. Source: API.md, WalletService.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from gateway.core.ed25519 import KeyRefused, VerifyingKey, load_verifying_key
from gateway.core.types import Environment, KeyId
from gateway.errors import PhoenixUnavailable, StoreUnavailable
from gateway.keys.descriptions import KeyDescription, KeyKind, KeyState
from gateway.keys.platform.fetch_waiters import FetchWaiters, TooManyWaiters
from gateway.keys.platform.revocations import RevokedKeys
from gateway.keys.platform.shared_key import KeyEntry, Nonce, SharedKeyCache, Turn
from gateway.keys.platform.shared_key_client import SharedKeyClient
from gateway.keys.platform.state import PlatformKey, PlatformKeyState
from gateway.resilience.clock import Clock
from gateway.resilience.deadline import Deadline
from gateway.resilience.supervision import run_job

LEASE_MARGIN_S = 0.2
"""The lease outlives the cooldown by this much, and its holder begins its fetch within this much or not at all: so two
fetches begin at least a cooldown apart, though they begin a little after their leases."""
POLL_S = 0.05
RETRY_S = 5.0
NEVER_FETCHED = float("-inf")


class KeyUnavailable(PhoenixUnavailable):
    """No (fresher) platform key could be had in time; nothing is known to be wrong with the call."""

    default_message = "Phoenix's platform key could not be had in time. Try again later."


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformKeySettings:
    """How often to fetch, how long to remember, whom to trust, how many may wait."""

    cooldown_s: float = 2.0
    """At least this long between the beginnings of two fetches (`PREDICTION_KEY_COOLDOWN`)."""
    overlap_s: float = 600.0
    """A key replaced less long ago still counts as retired (`PREDICTION_KEY_OVERLAP`)."""
    refresh_s: float = 60.0
    """Fetched anew behind the calls about this often, give or take a tenth, so that replicas spread out."""
    pins: frozenset[KeyId] = frozenset()
    """If any: only these keys are accepted (`PREDICTION_PLATFORM_KEY_SHA256`)."""
    max_waiting: int = 2000
    """Calls that may wait for a fetch; more are told at once that no key can be had."""
    max_waiting_bytes: int = 64 * 1024 * 1024
    """Bodies that those calls may hold together."""
    fetch_timeout_s: float = 3.0
    """Longest fetch; the next one cannot begin before it ends."""


class PlatformKeys:
    """The platform key of one prediction host and environment."""

    def __init__(
        self,
        *,
        fetch: Callable[[float], Awaitable[bytes]],
        clock: Clock,
        settings: PlatformKeySettings | None = None,
        shared: SharedKeyCache | None = None,
        static_key: VerifyingKey | None = None,
        on_event: Callable[[str], None] = lambda name: None,
        revoked: RevokedKeys | None = None,
    ) -> None:
        """Begin without a key, or with the configured one, which then is never fetched.

        Args: `fetch` takes its time limit in seconds and returns what the well-known route answered, of bounded size.
        `on_event` hears the names of things to be counted. `revoked`: what this machine remembers of revoked keys.
        Raises: KeyRefused when the configured key is not among the pins.
        """
        self._fetch = fetch
        self._clock = clock
        self._settings = settings or PlatformKeySettings()
        self._on_event = on_event
        self._revoked = revoked
        self._state = PlatformKeyState()
        self._is_static = static_key is not None
        if static_key is not None:
            self._check_wanted(static_key)
            self._state = self._state.install(static_key, fetched_at=clock.now(), now=clock.now())
        # A waiter is answered with a key, or with the text that says why there is none.
        self._room = FetchWaiters[PlatformKey | str](
            max_waiting=self._settings.max_waiting, max_bytes=self._settings.max_waiting_bytes
        )
        self._lease_s = self._settings.cooldown_s + LEASE_MARGIN_S
        self._fleet = SharedKeyClient(shared=shared, lease_ms=round(self._lease_s * 1000), on_event=on_event)
        self._fetch_began = NEVER_FETCHED
        self._server: asyncio.Task[None] | None = None
        self._loading: asyncio.Task[None] | None = None

    def current(self) -> PlatformKey | None:
        """The key that counts, from memory."""
        return self._state.current

    def retired(self) -> tuple[VerifyingKey, ...]:
        """The keys replaced within the overlap and not revoked, newest first: what they sign is `KEY_RETIRED`."""
        self._take_revoked()
        within = self._state.retired_within(self._settings.overlap_s, now=self._clock.now())
        return tuple(one.key for one in within)

    def previous(self) -> VerifyingKey | None:
        """The newest of the retired keys."""
        return next(iter(self.retired()), None)

    async def revoke(self, key_id: KeyId) -> bool:
        """Never count this key again, neither as retired nor when it is served again; tell the other processes.

        Returns: False, and nothing is done, if it is the current one.
        Raises: StoreUnavailable: it holds in this process, and no other one could be told.
        """
        if self._state.current is not None and self._state.current.key.key_id == key_id:
            return False
        self._state = self._state.revoke(key_id)
        told = await self._fleet.publish_revoked(self._state.revoked)
        if self._revoked is not None:
            try:
                self._revoked.add(self._state.revoked)
            except OSError:
                if not told:
                    raise StoreUnavailable("The key is revoked in this process only: it could not be noted.") from None
        return True

    def describe(self, environment: Environment) -> list[KeyDescription]:
        """The current key and the retired ones."""
        current, now = self._state.current, self._clock.now()
        overlap_s = self._settings.overlap_s
        rows: list[tuple[VerifyingKey, KeyState, float, float | None]] = []
        if current is not None:
            rows.append((current.key, KeyState.ACTIVE, self._state.activated_at or now, None))
        for one in self._state.retired_within(overlap_s, now=now):
            rows.append((one.key, KeyState.RETIRING, one.retired_at, one.retired_at))
        return [
            KeyDescription(
                key_id=key.key_id,
                kind=KeyKind.PLATFORM,
                algorithm="Ed25519",
                state=state,
                activated_at=activated_at,
                environment=environment,
                public_key_sha256=key.key_id,
                retired_at=retired_at,
                ends_at=None if retired_at is None else retired_at + overlap_s,
            )
            for key, state, activated_at, retired_at in rows
        ]

    async def first(self, deadline: Deadline, size_bytes: int = 0) -> PlatformKey:
        """Return the key of memory; without one, that of the shared cache, else that of the next fetch.

        Raises: KeyUnavailable.
        """
        if self._state.current is None and not deadline.expired:
            if self._loading is None or self._loading.done():
                self._loading = run_job("platform-key-load", self._load_stored())
            # Shielded: who is cancelled here must not take the answer from the others.
            await asyncio.shield(self._loading)
        return self._state.current or await self.fresher(deadline, size_bytes)

    async def fresher(self, deadline: Deadline, size_bytes: int = 0) -> PlatformKey:
        """Return the key of a fetch that begins after this call; a configured key is returned at once.

        Args: `size_bytes`: what the caller holds while it waits.
        Cancelling a caller leaves the fetch running for the others.
        Raises: KeyUnavailable: the fetch failed, none came before the deadline, or too many wait.
        """
        if self._is_static and self._state.current is not None:
            return self._state.current
        if deadline.expired:
            raise KeyUnavailable("No time is left to wait for Phoenix's platform key.")
        try:
            waiter = self._room.enter(size_bytes, self._clock.monotonic())
        except TooManyWaiters:
            self._on_event("platform_key_waiting_room_full")
            raise KeyUnavailable("Too many calls wait for Phoenix's platform key.") from None
        self._ensure_served()
        try:
            async with asyncio.timeout(deadline.remaining()):
                answer = await waiter.answer
        except TimeoutError:
            raise KeyUnavailable from None
        finally:
            self._room.leave(waiter)
        if isinstance(answer, str):
            raise KeyUnavailable(answer)
        return answer

    async def run(self) -> None:
        """Have a key at once and a fresh one about every `refresh_s`, for ever; a task to be cancelled."""
        patience_s = self._patience_s() + self._settings.fetch_timeout_s + self._settings.cooldown_s
        while not self._is_static:
            deadline = Deadline.after(patience_s, self._clock)
            try:
                await (self.fresher(deadline) if self._state.current else self.first(deadline))
            except KeyUnavailable:
                pause_s = min(self._settings.refresh_s, max(self._settings.cooldown_s, RETRY_S))
            else:
                pause_s = self._settings.refresh_s
            await asyncio.sleep(pause_s * random.uniform(0.9, 1.1))  # noqa: S311  spreads load, guards nothing

    async def stop(self) -> None:
        """End a fetch in flight; who still waits is told that there is no key."""
        if self._server is not None:
            self._server.cancel()
            await asyncio.gather(self._server, return_exceptions=True)

    def _ensure_served(self) -> None:
        if self._server is None or self._server.done():
            self._server = run_job("platform-key", self._serve())

    async def _serve(self) -> None:
        """Answer the waiting room until nobody is left in it."""
        try:
            while len(self._room):
                await self._step()
        finally:
            # Somebody is left only when this was stopped or is broken; nobody may wait for a task that is gone.
            self._answer(self._room.last_ticket, "The platform key is not being fetched here at the moment.")

    async def _step(self) -> None:
        """Listen to the fleet; fetch if it is this replica's turn; else wait a little."""
        asked_at = self._clock.monotonic()
        cooldown_left = self._fetch_began + self._settings.cooldown_s - asked_at
        turn = await self._fleet.ask(self._room.last_ticket, want_lease=cooldown_left <= 0)
        if turn is not None:
            self._learn(turn)
            if turn.revoked is not None and not self._state.revoked <= turn.revoked:
                await self._fleet.publish_revoked(self._state.revoked)  # somebody removed it
        leased = turn is not None and turn.leased
        # With no fleet, or one that shows nothing for too long, the process goes by its own cooldown.
        alone = turn is None or self._is_out_of_patience()
        if cooldown_left <= 0 and (leased or alone):
            others = await self._fleet.take_asks() if leased else frozenset()
            if alone or self._clock.monotonic() - asked_at <= LEASE_MARGIN_S:
                await self._fetch_once(others)
                return
            self._on_event("platform_key_lease_missed")
        await asyncio.sleep(min(max(cooldown_left, 0.001), POLL_S) if turn is None else POLL_S)

    async def _fetch_once(self, others: frozenset[Nonce]) -> None:
        """Fetch, and answer everybody who came before this moment, here and in the fleet."""
        covered, answered = self._room.last_ticket, others | self._fleet.own_asks()
        self._fetch_began, began_at = self._clock.monotonic(), self._clock.now()
        key = await self._fetch_key()
        if key is None:
            self._answer(covered, "Phoenix's platform key could not be fetched, or is not acceptable.")
            await self._fleet.publish_failure(answered)
            return
        self._answer(covered, self._install(key, fetched_at=began_at))
        retired = self._state.retired_within(self._settings.overlap_s, now=self._clock.now())
        await self._fleet.publish(KeyEntry(key=key, began_at=began_at, answered=answered, retired=retired))

    async def _fetch_key(self) -> VerifyingKey | None:
        """Fetch a key and judge it; None is a failure that was counted."""
        limit_s = self._settings.fetch_timeout_s
        self._on_event("platform_key_fetch_began")
        try:
            async with asyncio.timeout(limit_s):
                pem = await self._fetch(limit_s)
        except Exception:  # noqa: BLE001  whatever a fetch raises, the waiters must be told and the key kept
            self._on_event("platform_key_fetch_failed")
            return None
        try:
            key = load_verifying_key(pem)
            self._check_wanted(key)
        except KeyRefused:
            self._on_event("platform_key_refused")
            return None
        return key

    def _check_wanted(self, key: VerifyingKey) -> None:
        self._take_revoked()
        if self._settings.pins and key.key_id not in self._settings.pins:
            raise KeyRefused("The platform key is refused: it is not among the pinned ones.")
        if key.key_id in self._state.revoked:
            raise KeyRefused("The platform key is refused: it was revoked here.")

    def _take_revoked(self, others: frozenset[KeyId] = frozenset()) -> None:
        """Take over what others revoked; a current key that is among it is dropped, and fetched anew."""
        known = others if self._revoked is None else others | self._revoked.known()
        if self._is_static and (current := self._state.current) is not None:
            known -= {current.key.key_id}  # that one is the configuration's word
        for key_id in known - self._state.revoked:
            self._state = self._state.revoke(key_id)

    def _install(self, key: VerifyingKey, *, fetched_at: float) -> PlatformKey:
        before = self._state.current
        self._state = self._state.install(key, fetched_at=fetched_at, now=self._clock.now())
        current = self._state.current
        assert current is not None
        if before is not None and before.key != key:
            self._on_event("platform_key_rotated")
        return current

    def _answer(self, up_to: int, answer: PlatformKey | str) -> None:
        self._room.answer(up_to, answer)
        self._fleet.settle(up_to)

    def _learn(self, turn: Turn) -> None:
        """Answer those whose nonces a published fetch lists; anything else that was published proves nothing."""
        self._take_revoked(turn.revoked or frozenset())
        covered = 0 if turn.entry is None else self._fleet.covered_by(turn.entry.answered)
        if turn.entry is not None and covered and (adopted := self._adopt(turn.entry)) is not None:
            self._on_event("platform_key_shared")
            self._answer(covered, adopted)
        if covered := self._fleet.covered_by(turn.failed):
            self._answer(covered, "Phoenix's platform key could not be fetched by another replica.")

    def _adopt(self, entry: KeyEntry) -> PlatformKey | None:
        """Take over another replica's key, if it is wanted here too."""
        try:
            self._check_wanted(entry.key)
        except KeyRefused:
            self._on_event("platform_key_refused")
            return None
        current = self._install(entry.key, fetched_at=entry.began_at)
        self._state = self._state.remember(entry.retired, now=self._clock.now())
        return current

    async def _load_stored(self) -> None:
        """Begin with what the shared cache holds; it never takes the place of a key that is there."""
        entry = await self._fleet.stored()
        if entry is not None and self._state.current is None:
            self._adopt(entry)

    def _is_out_of_patience(self) -> bool:
        """Whether somebody waits longer than an honest fleet ever takes: the lease is with nobody of ours."""
        oldest = self._room.oldest_arrival
        return oldest is not None and self._clock.monotonic() - oldest > self._patience_s()

    def _patience_s(self) -> float:
        return 3 * self._lease_s + self._settings.fetch_timeout_s
