"""Knows which services can work now. It checks their dependencies every few seconds.

A service without external dependencies, such as minting, always serves. A failed check affects only the services that
name it: if Phoenix is down, tokens are still minted and webhooks still verified.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence

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
    """The state of every service, kept up to date by `run`."""

    def __init__(
        self,
        checks: Mapping[str, Sequence[Check]],
        clock: Clock,
        on_change: Callable[[Mapping[str, bool]], None] = lambda serving: None,
    ) -> None:
        """Args: `checks`: by full name of each service, the checks that must all pass; may be empty.

        `on_change` gets the state of all services after the first round and after each round that changed something.
        """
        self._checks = checks
        self._clock = clock
        self._on_change = on_change
        self._rounds = 0
        self._serving = {service: not needed for service, needed in checks.items()}
        self._reasons: dict[str, str | None] = {}
        self._held: frozenset[str] = frozenset()
        self._draining = False
        self._change = asyncio.Event()
        self._wake = asyncio.Event()

    def is_serving(self, service: str) -> bool | None:
        """Return whether the service serves; None if it is unknown. "" is the process, which serves until it drains."""
        if service == "":
            return not self._draining
        serving = self._serving.get(service)
        return None if serving is None else serving and service not in self._held and not self._draining

    def services(self) -> tuple[str, ...]:
        """Return the names of all services."""
        return tuple(self._serving)

    def readiness(self) -> tuple[bool, Mapping[str, bool]]:
        """Return whether the process accepts calls, and which of its services can work."""
        return not self._draining, self._reported_states()

    async def changed(self) -> None:
        """Return at the next change of anything."""
        await self._change.wait()

    def hold(self, services: frozenset[str]) -> None:
        """Report these services, and no others, as not serving, whatever their checks say."""
        if services != self._held:
            self._held = services
            self._on_change(self._reported_states())
            self._tell()

    def drain(self) -> None:
        """Report everything as not serving from now on."""
        self._draining = True
        self._tell()

    async def run(self) -> None:
        """Check now and every few seconds, more often while the gateway starts, until cancelled."""
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
            if self._serving[service] != (trouble is None):
                self._serving[service] = trouble is None
                changed = True
                if trouble is None:
                    log().info("service serves", service=service)
            if trouble is not None and self._reasons.get(service) != trouble["reason"]:
                log().warning("service does not serve", service=service, **trouble)
            self._reasons[service] = None if trouble is None else trouble["reason"]
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

    def _reported_states(self) -> dict[str, bool]:
        return {service: serving and service not in self._held for service, serving in self._serving.items()}

    def _tell(self) -> None:
        self._change.set()
        self._change = asyncio.Event()
