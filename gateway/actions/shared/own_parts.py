"""Watches the parts of this replica and the store behind it: what callers can escape by another replica.

While such a part does not work, the replica is not ready, and the services that need it do not serve. What Phoenix
causes is in `watch_health.py`: no replica can escape that. What each part is: `server/assembly/own_parts.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass

from gateway.errors import GatewayError
from gateway.resilience.clock import Clock
from gateway.resilience.deadline import Deadline
from gateway.resilience.steadiness import Steadiness
from gateway.telemetry.logs import log, where_raised

INTERVAL_S = 2.0
UNSETTLED_S = 0.5
"""While a part does not work, or looks at it disagree."""
LOOK_WITHIN_S = 2.0
_LEAST_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Why a part does not work, for people. It holds no secret. `kind` is one word, such as `read_only`."""

    part: str
    kind: str
    trouble: str
    advice: str
    error: str = ""

    def as_dict(self) -> dict[str, str]:
        """Return what the admin port shows."""
        return {"part": self.part, "kind": self.kind, "trouble": self.trouble, "advice": self.advice}


Look = Callable[[Deadline], Awaitable[Cause | None]]
"""Returns why the part does not work; None if it works. An exception means that it does not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnPart:
    """One part. `services`: the full names of those that need it; `is_needed`: the replica is not ready without it."""

    name: str
    look: Look
    services: frozenset[str]
    is_needed: bool = True


class OwnParts:
    """The state of all parts, kept up to date by `run`."""

    def __init__(self, parts: Sequence[OwnPart], clock: Clock) -> None:
        self._parts = tuple(parts)
        self._clock = clock
        self.on_change: Callable[[], None] = lambda: None
        """Called after the first look, and after each look that changed something."""
        self._steady = {part.name: Steadiness() for part in parts}
        self._causes: dict[str, Cause] = {}
        self._down_since: dict[str, float] = {}
        self._wake = asyncio.Event()
        self._looked = asyncio.Event()

    @property
    def was_looked_at(self) -> bool:
        """False while the gateway starts."""
        return self._looked.is_set()

    async def first_look(self) -> None:
        """Return once `run` has looked at every part, or after the time that a look may take."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_WITHIN_S + 1.0):
                await self._looked.wait()

    @property
    def needed_but_down(self) -> tuple[str, ...]:
        """The parts because of which the replica is not ready."""
        return tuple(part.name for part in self._down() if part.is_needed)

    def degraded(self) -> dict[str, str]:
        """Return the parts that do not work and without which the replica is ready, and why."""
        return {part.name: self._causes[part.name].kind for part in self._down() if not part.is_needed}

    def cause_of(self, service: str) -> Cause | None:
        """Return why this service cannot work, as far as it depends on the parts."""
        return next((self._causes[part.name] for part in self._down() if service in part.services), None)

    async def run(self) -> None:
        """Look now and again, until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(_LEAST_S)
            is_calm = all(one.works and one.is_settled for one in self._steady.values())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout((INTERVAL_S if is_calm else UNSETTLED_S) - _LEAST_S):
                    await self._wake.wait()
            self._wake.clear()

    def look_again(self) -> None:
        """Look soon: a part stopped or began to work."""
        self._wake.set()

    async def look(self) -> None:
        """Look at every part once, and publish what changed."""
        found = await asyncio.gather(*(self._look_at(part) for part in self._parts))
        changed = [self._take(part, cause) for part, cause in zip(self._parts, found, strict=True)]
        is_first = not self.was_looked_at
        self._looked.set()
        if any(changed) or is_first:
            self.on_change()

    def _down(self) -> Iterator[OwnPart]:
        return (part for part in self._parts if self._steady[part.name].works is False)

    def _take(self, part: OwnPart, cause: Cause | None) -> bool:
        now = self._clock.monotonic()
        state, before = self._steady[part.name], self._causes.get(part.name)
        if cause is not None:
            self._causes[part.name] = cause
        changed = state.saw(now, works=cause is None)
        if changed and state.works is False:
            self._down_since[part.name] = now
        if cause is not None and state.works is False and (changed or before is None or before.kind != cause.kind):
            log().warning(
                "a part of this replica does not work",
                state="not ready" if part.is_needed else "degraded",
                part=part.name,
                kind=cause.kind,
                trouble=cause.trouble,
                advice=cause.advice,
                error_type=cause.error,
                service=", ".join(sorted(name.rpartition(".")[2] for name in part.services)),
            )
            return True
        if changed and part.name in self._down_since:
            elapsed_ms = round((now - self._down_since.pop(part.name)) * 1000)
            log().info("a part of this replica works again", part=part.name, elapsed_ms=elapsed_ms)
        return changed

    async def _look_at(self, part: OwnPart) -> Cause | None:
        try:
            async with asyncio.timeout(LOOK_WITHIN_S + 0.5):
                return await part.look(Deadline.after(LOOK_WITHIN_S, self._clock))
        except Exception as error:  # noqa: BLE001 - whatever it raises, the part does not work
            trouble = error.message if isinstance(error, GatewayError) else "the check failed"
            kind = "timeout" if isinstance(error, TimeoutError) else "other"
            where = where_raised(error)["error_at"]
            return Cause(part=part.name, kind=kind, trouble=trouble, advice="read the log of this replica", error=where)
