"""Keep the list of kill switches up to date, from this machine's file, from Redis and from the database.

A decision that one place lacks is copied to it, so that a restart of a place switches nothing on. A place that cannot
be read changes nothing. A decision reaches all replicas in less than a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from gateway.cache.client import CacheUnavailable
from gateway.controls.switch_file import Stamp, SwitchFile
from gateway.core.switches import Switch, Switches, SwitchesUnreadable
from gateway.telemetry.logs import log, where_raised
from gateway.telemetry.trouble import TroubleLog

INTERVAL_S = 0.25
STORED_CHECKS = 20
"""The database is read every this many checks: five seconds."""
PAUSE_CHECKS = 240
"""A file that could not be written is tried again after this many checks: a minute."""

OnChange = Callable[[Switches, Sequence[Switch]], None]
"""Receives the list in force and its new decisions."""


class SharedSwitches(Protocol):
    """A place where replicas share the list."""

    async def merge(self, own: Switches) -> Switches:
        """Merge both lists, write the result if the place lacks something, and return it.

        Raises: CacheUnavailable or StoreUnavailable, depending on the place.
        """
        ...


class KillSwitches:
    """The list in force on this replica. Call `load` before the first call is served, then run `run`."""

    def __init__(
        self,
        file: SwitchFile,
        shared: SharedSwitches | None,
        on_change: OnChange,
        on_event: Callable[[str], None] = lambda name: None,
        *,
        stored: SharedSwitches | None = None,
    ) -> None:
        """Args: `shared`: a fast place, read at each check; `stored`: a durable place, read less often.

        `on_event` receives switch_entry_refused for a file that is refused.
        """
        self._file = file
        self._shared = shared
        self._stored = stored
        self._stored_knows = Switches()
        self._stored_trouble = TroubleLog("kill switches in the database")
        self._checks = 0
        self._on_change = on_change
        self._on_event = on_event
        self._switches = Switches()
        self._seen: Stamp = None
        self._kept: Switches | None = Switches()
        """The list in the file. None: the file cannot be read and is not written."""
        self._pause = 0
        self._listeners: list[Callable[[], None]] = []

    def add_listener(self, listener: Callable[[], None]) -> None:
        """Also call this function after each change."""
        self._listeners.append(listener)

    @property
    def switches(self) -> Switches:
        """The list in force."""
        return self._switches

    async def load(self) -> None:
        """Read all places once. A place that cannot be read counts as empty."""
        await self.check()

    async def run(self) -> None:
        """Check four times per second until cancelled."""
        while True:
            await asyncio.sleep(INTERVAL_S)
            await self.check()

    async def check(self) -> None:
        """Check all places once, and copy new decisions between them."""
        self._read_file()
        if self._shared is not None:
            try:
                self._take_over(await self._shared.merge(self._switches))
            except CacheUnavailable:
                pass  # the list in force does not change
        if self._stored is not None and (
            self._checks % STORED_CHECKS == 0 or self._stored_knows.merged(self._switches) is not self._stored_knows
        ):
            await self._check_stored(self._stored)
        self._checks += 1
        if self._kept is not None and self._kept.merged(self._switches) is not self._kept:
            await self._write_file(self._switches)

    async def _check_stored(self, stored: SharedSwitches) -> None:
        try:
            self._stored_knows = await stored.merge(self._switches)
        except Exception as error:  # noqa: BLE001 - no error of a driver may end the watch, and with it the process
            self._stored_trouble.failed(error)
            self._stored_knows = self._switches  # written at the next regular check
            return
        self._stored_trouble.works()
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
            self._pause = PAUSE_CHECKS
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
        for listener in self._listeners:
            listener()
