"""Reads the policy again when its file changed, and puts it in force in the place of the old one.

A file that cannot be used keeps the old policy and raises the alarm; so does one that names no caller any more. The
file is looked at and read in another thread, and taken only once it has not changed for one look: a file that is being
written may be a whole policy of fewer callers for a moment. Source: issue 8, point 2.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from gateway.config import Config, ConfigInvalid
from gateway.config.load import read_policy_again
from gateway.config.sources import file_stamp
from gateway.core.rights import Callers
from gateway.interceptors.policy import PolicyInForce
from gateway.resilience.clock import Clock
from gateway.telemetry.logs import log

POLL_S = 0.5
_TOLD_FAULTS = 20
_SHORT_TURN_S = 0.0005
"""How long the reading thread may keep the interpreter while calls wait; Python's own 5 ms would be felt by each."""


class PolicyObserver(Protocol):
    """What this tells; `telemetry.metrics.Metrics` hears it."""

    def policy_read(self, *, taken: bool) -> None:
        """A changed file was taken over, or refused and the old policy stays."""
        ...


class PolicyWatch:
    """Keeps the policy in force as its file says."""

    def __init__(self, config: Config, policy: PolicyInForce, observer: PolicyObserver, clock: Clock) -> None:
        self._config = config
        self._policy = policy
        self._observer = observer
        self._clock = clock
        self._read = self._seen = config.config_stamp

    async def run(self) -> None:
        """Look at the file for ever; without one there is nothing to look at."""
        if self._config.config_file is None:
            await asyncio.Event().wait()  # a background task that ends is taken for broken
            return
        while True:
            await asyncio.sleep(POLL_S)
            await self.look(self._config.config_file)

    async def look(self, path: Path) -> None:
        """Look at the file once, and read it if it changed before the last look and not since."""
        stamp = await asyncio.to_thread(file_stamp, path)
        is_still, self._seen = stamp == self._seen, stamp
        if stamp == self._read or not is_still:
            return
        self._read = stamp
        began = self._clock.monotonic()
        try:
            callers = await asyncio.to_thread(_read_gently, self._config)
        except ConfigInvalid as invalid:
            self._observer.policy_read(taken=False)
            for fault in invalid.faults[:_TOLD_FAULTS]:
                log().error(
                    "policy refused; the old one stays", setting=fault.setting, trouble=fault.problem,
                    advice=fault.remedy, count=len(invalid.faults),
                )  # fmt: skip
            return
        self._policy.callers = callers
        self._observer.policy_read(taken=True)
        elapsed_ms = round((self._clock.monotonic() - began) * 1000, 1)
        log().info("policy taken over", count=len(callers.by_name), elapsed_ms=elapsed_ms)


def _read_gently(config: Config) -> Callers:
    with _short_turns():
        return read_policy_again(config)


@contextmanager
def _short_turns() -> Iterator[None]:
    """Let the loop have the interpreter soon whenever it wants it; collecting garbage would hold it throughout."""
    before, collects = sys.getswitchinterval(), gc.isenabled()
    sys.setswitchinterval(min(before, _SHORT_TURN_S))
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()
        sys.setswitchinterval(before)
