"""Changes behind answers: shared writes, an outage that is waited out, bounds, and the last write at the end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from gateway.actions.events.shared_writes import Change, SharedWrites, WriteSettings
from gateway.core.event_ids import EventState, OwnEntry, RememberedEvent
from gateway.core.types import TenantId

T, U = TenantId("t"), TenantId("u")
QUICK = WriteSettings(retry_after_s=0.02, close_within_s=0.2)


class Fleet:
    """What replicas share. `gate` holds writes back while it is closed."""

    def __init__(self) -> None:
        self.entries: dict[tuple[TenantId, str], RememberedEvent] = {}
        self.writes: list[tuple[TenantId, list[str]]] = []
        self.is_gone = False
        self.gate = asyncio.Event()
        self.gate.set()

    async def write(self, tenant_id: TenantId, changes: Sequence[Change]) -> bool:
        await self.gate.wait()
        self.writes.append((tenant_id, [change.event_id for change in changes]))
        if self.is_gone:
            return False
        for event_id, entry, _ in changes:
            self.entries.pop((tenant_id, event_id), None)
            if entry is not None:
                self.entries[(tenant_id, event_id)] = entry
        return True


def entry(state: EventState = EventState.ACCEPTED) -> RememberedEvent:
    return RememberedEvent(state=state, at=1.0, digest=b"1" * 32)


def change(event_id: str, result: RememberedEvent | None) -> Change:
    return Change(event_id, result, OwnEntry())


async def idle(writes: SharedWrites) -> None:
    """Wait until nothing is left to write."""
    for _ in range(1000):
        await asyncio.sleep(0)
        if not len(writes):
            await asyncio.sleep(0.01)
            return
    raise AssertionError("the writes do not end")


async def comes_true(condition: Callable[[], bool], within_s: float = 5.0) -> None:
    """Wait until it does, or for so long: what is expected then is compared by the test."""
    until = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > until:
            return
        await asyncio.sleep(0.005)


async def test_changes_that_come_during_a_write_share_the_next_one() -> None:
    """One write for the first, one for each tenant's rest."""
    fleet = Fleet()
    writes = SharedWrites(fleet.write, QUICK)
    fleet.gate.clear()
    writes.add(T, [change("first", entry())])
    await asyncio.sleep(0)
    for number in range(50):
        writes.add(T, [change(f"t{number}", entry())])
        writes.add(U, [change(f"u{number}", entry())])
    fleet.gate.set()
    await idle(writes)
    assert [(tenant, len(ids)) for tenant, ids in fleet.writes] == [(T, 1), (T, 50), (U, 50)]
    assert len(fleet.entries) == 101


async def test_results_wait_for_a_memory_that_is_gone_and_releases_do_not() -> None:
    """What was sent meanwhile is known to all afterwards; a late deletion could hit another call's claim."""
    fleet = Fleet()
    fleet.is_gone = True
    writes = SharedWrites(fleet.write, QUICK)
    writes.add(T, [change("sent", entry()), change("free", None)])
    await asyncio.sleep(0.05)
    await writes.written(T, ["sent", "free"], 60.0)  # it does not wait for an outage to end
    fleet.entries[(T, "free")] = entry(EventState.BEGUN)
    fleet.is_gone = False
    expected = {(T, "sent"): entry(), (T, "free"): entry(EventState.BEGUN)}
    await comes_true(lambda: expected == fleet.entries)
    await idle(writes)
    assert expected == fleet.entries


async def test_a_newer_change_is_not_overwritten_by_one_that_failed() -> None:
    """The order of an id's changes holds."""
    fleet = Fleet()
    fleet.is_gone = True
    writes = SharedWrites(fleet.write, QUICK)
    writes.add(T, [change("e", entry(EventState.UNKNOWN))])
    fleet.gate.clear()
    await asyncio.sleep(0)
    writes.add(T, [change("e", entry(EventState.ACCEPTED))])
    fleet.gate.set()
    await asyncio.sleep(0.01)
    fleet.is_gone = False
    await comes_true(lambda: fleet.entries.get((T, "e")) == entry(EventState.ACCEPTED))
    await idle(writes)
    assert entry(EventState.ACCEPTED) == fleet.entries[(T, "e")]


async def test_a_waiting_result_is_not_lost_to_another_claim() -> None:
    """Neither to its release nor to its doubt, before and after a write that failed; its own claim may take it back."""
    fleet = Fleet()
    fleet.is_gone = True
    writes = SharedWrites(fleet.write, QUICK)
    taken_back = change("back", entry(EventState.UNKNOWN))
    writes.add(T, [change("e", entry()), change("f", entry()), taken_back])
    writes.add(T, [change("e", None), change("f", entry(EventState.UNKNOWN)), taken_back._replace(entry=None)])
    fleet.gate.clear()
    await asyncio.sleep(0)
    writes.add(T, [change("e", None), change("f", entry(EventState.UNKNOWN))])
    fleet.gate.set()
    await asyncio.sleep(0.01)
    fleet.is_gone = False
    expected = {(T, "e"): entry(), (T, "f"): entry()}
    await comes_true(lambda: expected == fleet.entries)
    await idle(writes)
    assert expected == fleet.entries


async def test_the_oldest_are_dropped_above_the_bound_and_counted() -> None:
    """Memory is bounded however long the outage lasts."""
    fleet, heard = Fleet(), list[str]()
    fleet.is_gone = True
    writes = SharedWrites(fleet.write, WriteSettings(max_waiting=10, retry_after_s=0.02), on_event=heard.append)
    for number in range(30):
        writes.add(T, [change(f"e{number}", entry())])
    assert len(writes) <= 10
    assert heard == ["event_id_not_shared"] * 20
    fleet.is_gone = False
    expected = {(T, f"e{number}") for number in range(20, 30)}
    await comes_true(lambda: expected == set(fleet.entries))
    await idle(writes)
    assert expected == set(fleet.entries)


async def test_one_write_takes_a_bounded_number() -> None:
    """A command of Redis blocks everybody else."""
    fleet = Fleet()
    writes = SharedWrites(fleet.write, WriteSettings(max_at_once=10))
    writes.add(T, [change(f"e{number}", entry()) for number in range(25)])
    await idle(writes)
    assert [len(ids) for _, ids in fleet.writes] == [10, 10, 5]


async def test_closing_writes_what_waits() -> None:
    """At once, during a write, and during the pause of an outage that has just ended."""
    fleet = Fleet()
    writes = SharedWrites(fleet.write, WriteSettings(retry_after_s=60))
    fleet.is_gone = True
    writes.add(T, [change("e", entry())])
    await asyncio.sleep(0.01)
    fleet.is_gone = False
    await writes.close()
    assert {(T, "e"): entry()} == fleet.entries


async def test_closing_does_not_wait_for_a_memory_that_is_gone_or_hangs() -> None:
    """What is not written is counted."""
    for is_gone in (True, False):
        fleet, heard = Fleet(), list[str]()
        fleet.is_gone = is_gone
        writes = SharedWrites(fleet.write, QUICK, on_event=heard.append)
        if not is_gone:
            fleet.gate.clear()
        writes.add(T, [change("e", entry())])
        async with asyncio.timeout(1.0):
            await writes.close()
        assert heard == ["event_id_not_shared"]


async def test_an_id_is_held_until_its_change_is_written() -> None:
    """While it waits and while the write is under way."""
    fleet = Fleet()
    writes = SharedWrites(fleet.write, QUICK)
    fleet.gate.clear()
    writes.add(T, [change("e", None)])
    assert writes.holds(T, ["x", "e"])
    await asyncio.sleep(0)
    assert writes.holds(T, ["e"])
    assert not writes.holds(U, ["e"])
    fleet.gate.set()
    await writes.written(T, ["e"], 1.0)
    assert not writes.holds(T, ["e"])
