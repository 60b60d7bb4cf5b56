"""The list of kill switches in the database, which all replicas share."""

from __future__ import annotations

from collections.abc import Callable

from gateway.config import Config
from gateway.controls.sealed_switches import SealedSwitches
from gateway.controls.stored_switches import StoredSwitches
from gateway.core.switches import Switches, SwitchesUnreadable, decode_switches, encode_switches
from gateway.resilience.clock import Clock
from gateway.store.database import Database


def build_stored_switches(
    config: Config, database: Database, clock: Clock, on_refused: Callable[[], None]
) -> StoredSwitches | None:
    """Return the list in PostgreSQL. None with SQLite: the switch file on the same disk is enough."""
    if config.database_url is None:
        return None
    if config.redis is not None:
        sealed = SealedSwitches(config.redis.seal_keys, clock, lambda name: on_refused())
        return StoredSwitches(database, encode=sealed.close, decode=sealed.open)

    def decode(content: bytes) -> Switches:
        try:
            return decode_switches(content, now_ms=round(clock.now() * 1000))
        except SwitchesUnreadable:
            on_refused()
            return Switches()

    return StoredSwitches(database, encode=encode_switches, decode=decode)
