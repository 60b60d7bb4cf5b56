"""Reloads the policy when its file changes.

An unusable file, and one that names no callers, leaves the old policy in force and raises the alarm. Another thread
reads the file, and only after it has stayed the same between two looks: a file that is being written can look like a
valid policy with fewer callers.
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
_LOGGED_FAULTS = 20
_SWITCH_INTERVAL_S = 0.0005
"""How long the reading thread may hold the interpreter while calls wait. Python's default of 5 ms would delay each."""


class PolicyObserver(Protocol):
    """Counts reloads. `telemetry.metrics.Metrics` is one."""

    def policy_read(self, *, taken: bool) -> None:
        """A changed file was loaded, or refused and the old policy stays."""
        ...


class PolicyWatch:
    """Keeps the policy in force equal to its file."""

    def __init__(self, config: Config, policy: PolicyInForce, observer: PolicyObserver, clock: Clock) -> None:
        self._config = config
        self._policy = policy
        self._observer = observer
        self._clock = clock
        self._read = self._seen = config.config_stamp

    async def run(self) -> None:
        """Watch the file until cancelled; without a file, only wait."""
        if self._config.config_file is None:
            await asyncio.Event().wait()  # the process stops when a background task ends
            return
        while True:
            await asyncio.sleep(POLL_S)
            await self.look(self._config.config_file)

    async def look(self, path: Path) -> None:
        """Check the file once. Load it if it has changed since it was loaded, and not since the last check."""
        stamp = await asyncio.to_thread(file_stamp, path)
        is_still, self._seen = stamp == self._seen, stamp
        if stamp == self._read or not is_still:
            return
        self._read = stamp
        if not self._config.callers.is_configured:
            log().warning("a file of settings has changed; restart the gateway to use it", path=str(path))
            return
        began = self._clock.monotonic()
        try:
            callers, settings_changed = await asyncio.to_thread(_read_in_short_turns, self._config)
        except ConfigInvalid as invalid:
            self._observer.policy_read(taken=False)
            for fault in invalid.faults[:_LOGGED_FAULTS]:
                log().error(
                    "policy file refused; the old policy stays in force", setting=fault.setting, trouble=fault.problem,
                    advice=fault.remedy, count=len(invalid.faults),
                )  # fmt: skip
            return
        self._policy.callers = callers
        self._observer.policy_read(taken=True)
        elapsed_ms = round((self._clock.monotonic() - began) * 1000, 1)
        log().info("policy reloaded", count=len(callers.by_name), elapsed_ms=elapsed_ms)
        if settings_changed:
            log().warning("a file of settings has changed; restart the gateway to use it", path=str(path))


def _read_in_short_turns(config: Config) -> tuple[Callers, bool]:
    with _short_switch_interval():
        return read_policy_again(config)


@contextmanager
def _short_switch_interval() -> Iterator[None]:
    """Give the event loop the interpreter soon when it needs it. A garbage collection would block it, so none runs."""
    before, collects = sys.getswitchinterval(), gc.isenabled()
    sys.setswitchinterval(min(before, _SWITCH_INTERVAL_S))
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()
        sys.setswitchinterval(before)
