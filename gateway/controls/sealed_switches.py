"""Seal the list of kill switches for places that others could write to."""

from __future__ import annotations

from collections.abc import Callable

from gateway.core.sealing import SealedFor, SealKeys, SealRefused
from gateway.core.switches import Switches, SwitchesUnreadable, decode_switches, encode_switches
from gateway.core.types import UnixSeconds
from gateway.resilience.clock import Clock

_PLACE = SealedFor(purpose="kill-switches", name="all")
_VALID_S = 10 * 365 * 86_400
"""A decision is valid until another one replaces it."""


class SealedSwitches:
    """Seals and opens lists. The same bytes are opened only once, and a refusal is reported only once."""

    def __init__(self, seal_keys: SealKeys, clock: Clock, on_event: Callable[[str], None] = lambda name: None) -> None:
        """Args: `on_event` receives switch_entry_refused, once for each refused entry."""
        self._seal_keys = seal_keys
        self._clock = clock
        self._on_event = on_event
        self._refused = b""
        self._last: tuple[bytes, Switches] = (b"", Switches())

    def open(self, raw: bytes) -> Switches:
        """Return the list; an empty one if there is none, or if it is refused."""
        if raw == self._last[0]:
            return self._last[1]
        now = self._clock.now()
        try:
            opened = self._seal_keys.open(_PLACE, raw, now=UnixSeconds(int(now)))
            found = decode_switches(opened.payload, now_ms=round(now * 1000))
        except (SealRefused, SwitchesUnreadable):
            if raw and raw != self._refused:
                self._refused = raw
                self._on_event("switch_entry_refused")
            return Switches()
        self._last = (raw, found)
        return found

    def close(self, switches: Switches) -> bytes:
        """Return the sealed list."""
        now = int(self._clock.now())
        return self._seal_keys.seal(
            _PLACE, encode_switches(switches), stored_at=UnixSeconds(now), expires_at=UnixSeconds(now + _VALID_S)
        )
