"""The list of kill switches in either database: merged, stored, repaired."""

from __future__ import annotations

import asyncio

from gateway.controls.stored_switches import StoredSwitches, table
from gateway.core.switches import Switches, SwitchesUnreadable, Target, TargetKind, decode_switches, encode_switches
from gateway.store.database import Database


def decode(content: bytes) -> Switches:
    try:
        return decode_switches(content, now_ms=1_000)
    except SwitchesUnreadable:
        return Switches()


def stored_in(database: Database) -> StoredSwitches:
    return StoredSwitches(database, encode=encode_switches, decode=decode)


def switched(name: str, *, is_off: bool = True, at_ms: int = 5, known: Switches | None = None) -> Switches:
    target = Target(kind=TargetKind.TENANT, name=name)
    return (known or Switches()).decided(target, is_off=is_off, reason="", by="", now_ms=at_ms)


def off(switches: Switches) -> list[str]:
    return sorted(one.target.name for one in switches.off)


async def test_many_who_write_at_once_all_get_their_decision_in(database: Database) -> None:
    """The first row too is made by one of them."""
    names = [f"t{number}" for number in range(8)]
    await asyncio.gather(*(stored_in(database).merge(switched(name)) for name in names))
    assert names == off(await stored_in(database).merge(Switches()))


async def test_an_older_decision_changes_nothing(database: Database) -> None:
    """Whoever comes with it learns the newer one."""
    known = await stored_in(database).merge(switched("t", at_ms=5))
    await stored_in(database).merge(switched("t", is_off=False, at_ms=9, known=known))
    assert [] == off(await stored_in(database).merge(switched("t", at_ms=5)))


async def test_a_row_that_cannot_be_read_is_written_again(database: Database) -> None:
    """By the next who knows anything."""
    await stored_in(database).merge(switched("t"))
    await database.write(lambda connection, now: connection.execute(table.update().values(content=b"?")), 5.0)
    assert [] == off(await stored_in(database).merge(Switches()))
    await stored_in(database).merge(switched("u"))
    assert ["u"] == off(await stored_in(database).merge(Switches()))
