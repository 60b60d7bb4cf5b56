"""Follows the files of secrets that are not keys: the development token, and the URLs of the database and of Redis.

A changed file is read when it was stable for one check, as with keys. An unusable one is logged and counted, and the
value in use stays. A platform replaces a mounted file by changing a link, which each check follows.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from gateway.core.secret import Secret
from gateway.keys.own.keyring import WATCH_EVERY_S
from gateway.keys.own.loaded_secret import REFUSED, LoadedSecret
from gateway.keys.sources.secret_files import SecretSource
from gateway.resilience.clock import Clock
from gateway.telemetry.logs import log


@dataclass(slots=True, kw_only=True)
class Followed:
    """One secret. `use` hears of each new value."""

    loaded: LoadedSecret[Secret]
    setting: str
    use: Callable[[Secret], object] | None = None

    def current(self) -> Secret:
        """Return the value in use."""
        return self.loaded.current


@dataclass(slots=True, kw_only=True)
class SecretWatch:
    """The followed secrets of a process. `on_event`: counts what happens to the files of secrets."""

    clock: Clock
    on_event: Callable[[str], None]
    start_only: Path | None = None
    """A file of settings that is read at the start only. A change of it is logged."""
    _followed: list[Followed] = field(default_factory=list)

    def follow(
        self, source: SecretSource, check: Callable[[Secret], Secret], use: Callable[[Secret], object] | None = None
    ) -> Followed:
        """Follow a secret from now on.

        Args: `check` returns a usable value, or raises SecretRefused; `use` hears of each new value.
        Raises: SecretRefused.
        """
        made = Followed(loaded=LoadedSecret(source, check, self.clock.now()), setting=source.setting, use=use)
        if source.path is not None or source.stored is not None:
            self._followed.append(made)
        return made

    async def run(self) -> None:
        """Check the files until cancelled."""
        seen = await asyncio.to_thread(self._content)
        while True:
            await asyncio.sleep(WATCH_EVERY_S)
            for one in self._followed:
                await self.look(one)
            content = await asyncio.to_thread(self._content)
            if content not in (seen, ""):
                seen = content
                log().warning(
                    "a file of settings has changed; restart the gateway to use it", path=str(self.start_only)
                )

    async def look(self, one: Followed) -> None:
        """Check one secret once, and hand a new value over."""
        before = one.loaded.current
        events = await asyncio.to_thread(one.loaded.check_files, self.clock.now())
        notes = one.loaded.notes(one.loaded.versions.active, self.clock.now())
        for event in events:
            self.on_event(event)
            if event == REFUSED:
                log().error("a new secret is not used; the known one stays", setting=one.setting, trouble=notes)
        if one.loaded.current is not before:
            log().info("a new secret is used", setting=one.setting)
            if one.use is not None:
                one.use(one.loaded.current)

    def _content(self) -> str:
        """Return a digest of the file that is read at the start only; "" if there is none, or it cannot be read."""
        try:
            return "" if self.start_only is None else hashlib.sha256(self.start_only.read_bytes()).hexdigest()
        except OSError:
            return ""
