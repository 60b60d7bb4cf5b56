"""Keeps the list of what is switched off up to date: from this machine's file, and from Redis and the database.

What one place knows and the other does not is carried over, so that a restart of either switches nothing on again. A
place that cannot be read changes nothing. Source: issue 8, point 8: on all replicas in under a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from gateway.cache.client import CacheUnavailable
from gateway.controls.switch_file import Stamp, SwitchFile
from gateway.core.switches import Switch, Switches, SwitchesUnreadable
from gateway.errors import StoreUnavailable
from gateway.telemetry.logs import log, where_raised

INTERVAL_S = 0.25
STORED_LOOKS = 20
"""After so many looks the database is looked at again: five seconds."""
PAUSE_LOOKS = 240
"""After so many looks a file that could not be written is tried again: a minute."""

OnChange = Callable[[Switches, Sequence[Switch]], None]
"""Hears the list now in force and the decisions that are new in it."""


class SharedSwitches(Protocol):
    """Where replicas share the list."""

    async def merge(self, own: Switches) -> Switches:
        """Return what both know together, having told what was new there.

        Raises: CacheUnavailable, StoreUnavailable: the one of the place.
        """
        ...


class KillSwitches:
    """The list in force on this replica; `load` before the first call, then `run`."""

    def __init__(
        self,
        file: SwitchFile,
        shared: SharedSwitches | None,
        on_change: OnChange,
        on_event: Callable[[str], None] = lambda name: None,
        *,
        stored: SharedSwitches | None = None,
    ) -> None:
        """Args: `shared`: a quick place, looked at each time; `stored`: one that lasts, looked at now and then.

        `on_event` hears switch_entry_refused for a file that is not believed.
        """
        self._file = file
        self._shared = shared
        self._stored = stored
        self._stored_knows = Switches()
        self._looks = 0
        self._on_change = on_change
        self._on_event = on_event
        self._switches = Switches()
        self._seen: Stamp = None
        self._kept: Switches | None = Switches()
        """What the file holds; None: nothing that can be read, and it is left alone."""
        self._pause = 0
        self._also: list[Callable[[], None]] = []

    def also(self, hear: Callable[[], None]) -> None:
        """Call this too after each change."""
        self._also.append(hear)

    @property
    def switches(self) -> Switches:
        """The list in force."""
        return self._switches

    async def load(self) -> None:
        """Read both places once; what cannot be read counts as empty until it can."""
        await self.look()

    async def run(self) -> None:
        """Look four times a second until cancelled."""
        while True:
            await asyncio.sleep(INTERVAL_S)
            await self.look()

    async def look(self) -> None:
        """Look at both places once and carry over what is new."""
        self._read_file()
        if self._shared is not None:
            try:
                self._take_over(await self._shared.merge(self._switches))
            except CacheUnavailable:
                pass  # the list in force stays in force
        if self._stored is not None and (
            self._looks % STORED_LOOKS == 0 or self._stored_knows.merged(self._switches) is not self._stored_knows
        ):
            await self._look_at(self._stored)
        self._looks += 1
        if self._kept is not None and self._kept.merged(self._switches) is not self._kept:
            await self._write_file(self._switches)

    async def _look_at(self, stored: SharedSwitches) -> None:
        try:
            self._stored_knows = await stored.merge(self._switches)
        except StoreUnavailable:
            self._stored_knows = self._switches  # told again at the next look that is due
            return
        self._take_over(self._switches.merged(self._stored_knows))

    def _read_file(self) -> None:
        stamp = self._file.stamp()
        if stamp == self._seen:
            return
        self._seen = stamp
        try:
            self._kept = self._file.read()
        except (SwitchesUnreadable, OSError) as error:
            self._kept = None
            self._on_event("switch_entry_refused")
            log().error("list of switches not read", path=str(self._file.path), **where_raised(error))
            return
        self._take_over(self._switches.merged(self._kept))

    async def _write_file(self, wanted: Switches) -> None:
        if self._pause > 0:
            self._pause -= 1
            return
        try:
            self._kept = await asyncio.to_thread(self._file.merge, wanted)
        except (SwitchesUnreadable, OSError) as error:
            self._pause = PAUSE_LOOKS
            log().warning("list of switches not kept on this machine", **where_raised(error))

    def _take_over(self, switches: Switches) -> None:
        before = self._switches
        if switches is before:
            return
        self._switches = switches
        fresh = [one for target, one in switches.by_target.items() if before.by_target.get(target) != one]
        if not fresh:
            return
        for one in fresh:
            log().warning("switched", state="off" if one.is_off else "on", kind=one.target.kind.value)
        self._on_change(switches, fresh)
        for hear in self._also:
            hear()
