"""Knows which services can work now, and whether this replica is ready. It checks Phoenix's hosts every few seconds.

A service without external dependencies, such as minting, serves while the parts of this replica work (`own_parts.py`).
A failed check affects only the services that name it: if Phoenix is down, tokens are still minted and webhooks still
verified. It never makes the replica unready: other replicas have the same Phoenix.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any

from gateway.actions.shared.own_parts import OwnParts
from gateway.errors import GatewayError
from gateway.resilience.clock import Clock
from gateway.resilience.deadline import Deadline
from gateway.telemetry.logs import log
from gateway.telemetry.trouble import described

Check = Callable[[Deadline], Awaitable[None]]
"""Returns if the dependency works. Raises a GatewayError, or any other exception, if it does not."""

INTERVAL_S = 5.0
START_INTERVAL_S = 0.2
START_ROUNDS = 25
"""While the gateway starts, checks run more often, so that it reports ready as soon as it is."""
CHECK_S = 2.0
RECHECK_S = 2.0
"""While a service does not serve, so that it serves again soon after its dependency works."""
_LEAST_S = 0.2


class HealthWatch:
    """The state of every service, kept up to date by `run` and `own.run`."""

    def __init__(
        self,
        checks: Mapping[str, Sequence[Check]],
        clock: Clock,
        on_change: Callable[[Mapping[str, bool]], None] = lambda serving: None,
        *,
        own: OwnParts | None = None,
        on_not_ready: Callable[[Sequence[str]], None] = lambda causes: None,
    ) -> None:
        """Args: `checks`: by full name of each service, the checks that must all pass; may be empty.

        `on_change` gets the state of all services after the first round and after each round that changed something.
        `on_not_ready` gets the names of what keeps the replica from being ready, after each change.
        """
        self._checks = checks
        self._clock = clock
        self.own = own
        """The parts of this replica, which have a task of their own; None: there are none."""
        if own is not None:
            own.on_change = self._own_parts_changed
        self._on_not_ready = on_not_ready
        self._on_change = on_change
        self._rounds = 0
        self._serving = {service: not needed for service, needed in checks.items()}
        self._troubles: dict[str, dict[str, str] | None] = {}
        self._held: frozenset[str] = frozenset()
        self._draining = False
        self._ends_streams = False
        self._change = asyncio.Event()
        self._wake = asyncio.Event()

    def is_serving(self, service: str) -> bool | None:
        """Return whether the service serves; None if it is unknown. "" is the replica, as `readiness` reports it."""
        if service == "":
            return not self.not_ready()
        return None if service not in self._serving else self._serves(service) and not self._draining

    @property
    def ends_streams(self) -> bool:
        """Whether the process accepts no more, so that streams have to end."""
        return self._ends_streams

    def services(self) -> tuple[str, ...]:
        """Return the names of all services."""
        return tuple(self._serving)

    def not_ready(self) -> tuple[str, ...]:
        """Return what keeps this replica from being ready: names of parts, `starting` or `draining`; empty if ready."""
        if self._draining:
            return ("draining",)
        if self.own is None:
            return ()
        return self.own.needed_but_down if self.own.was_looked_at else ("starting",)

    def readiness(self) -> Mapping[str, Any]:
        """Return the report of the admin port: `ready`, `services`, and why some of them or the replica cannot work."""
        causes = self.not_ready()
        reasons = {service: cause for service in self._serving if (cause := self._cause_of(service)) is not None}
        report: dict[str, Any] = {"ready": not causes, "services": self._reported_states()}
        if causes:
            report["not_ready"] = list(causes)
        if reasons:
            report["reasons"] = reasons
        return report

    def degraded(self) -> Mapping[str, str]:
        """Return the parts without which the replica is ready and that do not work, and why."""
        return {} if self.own is None else self.own.degraded()

    def changed(self) -> Coroutine[Any, Any, object]:
        """Return what waits for the next change of anything after this call, also if it is awaited later."""
        return self._change.wait()

    def hold(self, services: frozenset[str]) -> None:
        """Report these services, and no others, as not serving, whatever their checks say."""
        if services != self._held:
            self._held = services
            self._on_change(self._reported_states())
            self._tell()

    def drain(self) -> None:
        """Report everything as not serving from now on."""
        self._draining = True
        self._on_not_ready(self.not_ready())
        self._tell()

    def end_streams(self) -> None:
        """Let watchers go: the process accepts no more."""
        self._ends_streams = True
        self._tell()

    async def run(self) -> None:
        """Check Phoenix now and every few seconds, more often while the gateway starts, until cancelled."""
        while True:
            await self.check_now()
            await asyncio.sleep(_LEAST_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pause_s()):
                    await self._wake.wait()
            self._wake.clear()

    def look_again(self) -> None:
        """Check soon: a dependency stopped or began to work."""
        self._wake.set()
        if self.own is not None:
            self.own.look_again()

    def _pause_s(self) -> float:
        if all(self._serving.values()):
            return INTERVAL_S - _LEAST_S
        return (START_INTERVAL_S if self._rounds <= START_ROUNDS else RECHECK_S) - _LEAST_S

    async def check_now(self) -> None:
        """Run every check once, concurrently, and publish what changed."""
        distinct = list({check: None for needed in self._checks.values() for check in needed})
        troubles = dict(zip(distinct, await asyncio.gather(*(self._trouble(check) for check in distinct)), strict=True))
        changed = False
        for service, needed in self._checks.items():
            trouble = next((found for check in needed if (found := troubles[check])), None)
            before = self._troubles.get(service)
            if self._serving[service] != (trouble is None):
                self._serving[service] = trouble is None
                changed = True
                if trouble is None:
                    log().info("service serves", service=service)
            if trouble is not None and (before is None or before["reason"] != trouble["reason"]):
                log().warning("service does not serve", service=service, **trouble)
            self._troubles[service] = trouble
        self._rounds += 1
        if changed or self._rounds == 1:
            self._on_change(self._reported_states())
        if changed:
            self._tell()

    async def _trouble(self, check: Check) -> dict[str, str] | None:
        """Return why the dependency does not work, as fields of a log line; None if it works."""
        try:
            async with asyncio.timeout(CHECK_S + 0.5):
                await check(Deadline.after(CHECK_S, self._clock))
        except GatewayError as error:
            return {"reason": error.reason, **described(error)}
        except TimeoutError as error:
            return {"reason": "TIMEOUT", **described(error)}
        except Exception as error:  # noqa: BLE001 - whatever a check raises, its dependency does not work
            return {"reason": "INTERNAL", **described(error)}
        return None

    def _own_parts_changed(self) -> None:
        self._on_not_ready(self.not_ready())
        self._on_change(self._reported_states())
        self._tell()

    def _serves(self, service: str) -> bool:
        if not self._serving[service] or service in self._held:
            return False
        return self.own is None or (self.own.was_looked_at and self.own.cause_of(service) is None)

    def _cause_of(self, service: str) -> dict[str, str] | None:
        """Return why a service cannot work, unless it is switched off, which the admin port lists apart."""
        own = None if self.own is None else self.own.cause_of(service)
        if own is not None:
            return own.as_dict()
        trouble = self._troubles.get(service)
        if trouble is None:
            return None
        advice = "the replica answers with this reason; phoenix-gateway doctor checks the host"
        found = {"part": "phoenix", "kind": trouble["reason"], "trouble": trouble["trouble"], "advice": advice}
        return found | ({"address": trouble["address"]} if trouble["address"] else {})

    def _reported_states(self) -> dict[str, bool]:
        return {service: self._serves(service) for service in self._serving}

    def _tell(self) -> None:
        self._change.set()
        self._change = asyncio.Event()
