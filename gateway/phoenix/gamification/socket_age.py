"""When an open socket must be replaced: its host's name has other addresses now, or the socket is old.

A request's connection lives for less than a minute; a socket is not replaced as often, because each replacement sends
all watchers a new epoch. Its name is resolved again instead.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass

from aiohttp.abc import AbstractResolver

from gateway.resilience.clock import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class AgeSettings:
    """How long a socket is kept."""

    resolve_after_s: float = 40.0
    """How often the name is resolved again, so that a change of DNS is followed within a minute."""
    max_age_s: float = 900.0
    """Age after which a socket is replaced anyway."""
    connect_within_s: float = 3.0
    """How long a new address may take to accept a connection; otherwise the socket stays."""


class SocketAge:
    """Watches the age of sockets, for all hosts."""

    def __init__(self, resolver: AbstractResolver, clock: Clock, settings: AgeSettings) -> None:
        self._resolver = resolver
        self._clock = clock
        self._settings = settings

    async def passed(self, host: str, port: int, address: str) -> None:
        """Return when a socket to this address has to be replaced, and its host accepts another one.

        An old socket is better than none: its server may work while the new address does not.
        """
        expires_at = self._clock.monotonic() + self._settings.max_age_s
        while True:
            await asyncio.sleep(self._settings.resolve_after_s)
            addresses = await self._addresses(host, port)
            is_current = address in addresses and self._clock.monotonic() < expires_at
            if not is_current and await self._accepts(addresses, port):
                return

    async def _addresses(self, host: str, port: int) -> list[str]:
        """Return the host's addresses at present; none if they cannot be found out."""
        try:
            found = await self._resolver.resolve(host, port, family=socket.AF_UNSPEC)
        except OSError:
            return []
        return [each["host"] for each in found]

    async def _accepts(self, addresses: list[str], port: int) -> bool:
        for address in addresses:
            try:
                async with asyncio.timeout(self._settings.connect_within_s):
                    _, writer = await asyncio.open_connection(address, port)
            except (OSError, TimeoutError):
                continue
            writer.close()
            return True
        return False
