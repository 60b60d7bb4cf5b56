"""The versions of a launch key in a store, in the same states as files of a folder: announced, active, retiring.

A new version is published when it is noticed, and signs after the lead time. What a store has listed once stays known
while the store is away. A version that the store no longer lists cannot sign: it goes, unless it is the active one.
keys/own/versions.py decides which version is in use; keys/own/loaded_secret.py does the same for files.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from gateway.core.key_trial import TrialResult
from gateway.keys.own.loaded_secret import ANNOUNCED
from gateway.keys.own.versions import RotationPolicy, Version, Versions
from gateway.keys.signers.signing_queue import RemoteKey, SigningQueue
from gateway.keys.signers.store import KeyStore, StoredKey
from gateway.keys.sources.secret_store import not_readable_since
from gateway.keys.sources.store_failure import StoreCause, StoreFailed
from gateway.resilience.worker_thread import WorkerThread
from gateway.telemetry.logs import log

UNLISTED = "signer_unlisted"
ASK_WITHIN_S = 10.0
_CHANGED = "has another key in the store than before, which is ignored: add a new version instead"
_NOTICED_WITHIN_S = 60.0
"""A version that is older when a running gateway notices it was not published in time: its lead begins now."""


class SignerVersions:
    """The versions of one key. `current` is the one in use."""

    versions: Versions[RemoteKey]
    current: RemoteKey
    stored: None = None
    """No secret is read: the key stays in its store."""

    def __init__(self, store: KeyStore, queue: SigningQueue, now: float, policy: RotationPolicy) -> None:
        """Ask the store; blocks. Raises: StoreFailed."""
        self.store = store
        self.queue = queue
        self._policy = policy
        self._thread = WorkerThread(f"versions of {store.reference}")
        self._unreachable_since: float | None = None
        self._unreachable_cause = ""
        self._cause = ""
        found = store.versions()
        self.versions = Versions(
            policy, [self._version(one, self._first_activation(one, now), now) for one in found], now
        )
        self.current = self._value()

    def check_files(self, now: float) -> list[str]:
        """Let versions take over. Return the events to count."""
        return self._settle(now)

    def adopt(self, found: Sequence[StoredKey], now: float) -> list[str]:
        """Take what the store lists now. Return the events to count."""
        self._unreachable_since, self._unreachable_cause, self._cause = None, "", ""
        events: list[str] = []
        changed: list[str] = []
        known = {one.name: one for one in self.versions.all()}
        for one in found:
            if one.name not in known:
                announced_at = now if one.created_at is None else one.created_at
                if not 0 <= now - announced_at <= _NOTICED_WITHIN_S:
                    announced_at = now
                activates_at = max(one.named_at or 0.0, announced_at + self._policy.lead_s)
                self.versions.add(self._version(one, activates_at, announced_at))
                events.append(ANNOUNCED)
            elif known[one.name].digest != one.public.raw:
                changed.append(one.name)
        if changed:
            self._cause = f"version {', '.join(changed)} {_CHANGED}"
        listed = {one.name for one in found}
        for name, version in known.items():
            if name not in listed:
                self.versions.drop(version)
        return events + self._settle(now)

    async def ask(self) -> list[StoredKey] | StoreFailed:
        """Ask the store for its versions, in a thread of its own."""
        try:
            async with asyncio.timeout(ASK_WITHIN_S):
                return await self._thread.run(self.store.versions)
        except StoreFailed as failure:
            return failure
        except TimeoutError:
            return StoreFailed(StoreCause.TIMEOUT, f"it did not answer within {ASK_WITHIN_S:g} s")
        except Exception as failure:  # noqa: BLE001 - whatever a store's library raises, the next round asks again
            return StoreFailed(StoreCause.UNUSABLE_ANSWER, f"its library failed ({type(failure).__name__})")

    async def stop(self) -> None:
        """Stop asking and signing."""
        await asyncio.gather(self.queue.stop(), self._thread.stop(0.0))

    def lost(self, failure: StoreFailed, now: float) -> list[str]:
        """Note that the store does not list its versions; the known ones stay in use. Return the events to count."""
        since = self._unreachable_since = self._unreachable_since or now
        self._unreachable_cause = failure.cause.value
        cause = f"{not_readable_since(since)}, the known versions stay in use: {failure}"
        if cause != self._cause:
            self._cause = cause
            log().warning("the store of a launch key lists no versions", address=self.store.reference, trouble=cause)
        return [UNLISTED, *self._settle(now)]

    @property
    def source(self) -> str:
        """The reference."""
        return self.store.reference

    @property
    def outage(self) -> str:
        """Since when and why the store cannot be asked; "" while it can."""
        since = self._unreachable_since
        return "" if since is None else f"{not_readable_since(since)} ({self._unreachable_cause})"

    def record_trial(
        self, version: Version[RemoteKey], result: TrialResult, now: float, *, after_rejection: bool
    ) -> list[str]:
        """Record the result of a trial and let versions take over. Return the events to count."""
        return self.versions.record_trial(version, result, now, after_rejection=after_rejection) + self._settle(now)

    def notes(self, version: Version[RemoteKey], now: float) -> str:
        """Return notes for operators on a version; for the active one, also on the store."""
        notes = []
        if version.trial is not None and (version is not self.versions.active or version.trial is TrialResult.REFUSED):
            notes.append(version.trial.value)
        if version is self.versions.active:
            notes += [text for text in (self._cause, self.queue.trouble) if text]
        return "; ".join(notes)

    def _settle(self, now: float) -> list[str]:
        events = self.versions.settle(now)
        self.current = self._value()
        return events

    def _value(self) -> RemoteKey:
        value = self.versions.active.value
        assert value is not None  # only retired versions lose their value
        return value

    def _first_activation(self, one: StoredKey, now: float) -> float:
        """Return when a version takes over that a starting process finds: others have published it meanwhile.

        A store that dates its versions is taken at its word, and so is a time in a name that has passed.
        """
        named_at, created_at = one.named_at or 0.0, one.created_at
        if created_at is None:
            return named_at if named_at <= now else max(named_at, now + self._policy.lead_s)
        return max(named_at, created_at + self._policy.lead_s)

    def _version(self, one: StoredKey, activates_at: float, announced_at: float) -> Version[RemoteKey]:
        return Version(
            name=one.name,
            order=one.order,
            value=RemoteKey(one, self.queue),
            digest=one.public.raw,
            key_id=one.public.key_id,
            announced_at=min(announced_at, activates_at),
            activates_at=activates_at,
        )
