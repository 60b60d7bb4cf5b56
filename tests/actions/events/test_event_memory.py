"""Repeated event ids: the first result, a refusal of different content, and expiry."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from gateway import errors
from gateway.actions.events.event_memory import (
    Answer,
    Awaited,
    Claim,
    EventMemory,
    MemorySettings,
    Recalled,
)
from gateway.actions.events.shared_writes import Change
from gateway.core.event_ids import REMEMBER_S, EventState, OwnEntry, RememberedEvent
from gateway.core.types import TenantId
from gateway.errors import GatewayError
from gateway.phoenix.gamification.pending_event import Failed, Submitted
from gateway.resilience.clock import SystemClock
from gateway.resilience.deadline import Deadline
from tests.manual_clock import ManualClock

ONE, OTHER = b"1" * 32, b"2" * 32
T = TenantId("t")
LATER = Deadline.after(24 * 3600.0, SystemClock())
"""Made on import, long before the last test runs."""


class Shared:
    """What a fleet remembers, in a dict; counts the ways there."""

    def __init__(self) -> None:
        self.entries: dict[tuple[str, str], RememberedEvent] = {}
        self.trips = 0
        self.is_gone = False

    async def claim(
        self, tenant_id: TenantId, wanted: Sequence[tuple[str, RememberedEvent, OwnEntry]], *, within_s: float
    ) -> list[RememberedEvent | None] | None:
        self.trips += 1
        if self.is_gone:
            return None
        found: list[RememberedEvent | None] = []
        for event_id, entry, _ in wanted:
            found.append(self.entries.get((tenant_id, event_id)))
            self.entries.setdefault((tenant_id, event_id), entry)
        return found

    async def settle(self, tenant_id: TenantId, changes: Sequence[Change]) -> bool:
        self.trips += 1
        if self.is_gone:
            return False
        for event_id, entry, _ in changes:
            if entry is None:
                self.entries.pop((tenant_id, event_id), None)
            else:
                self.entries[(tenant_id, event_id)] = entry
        return True


async def ask(
    memory: EventMemory, event_id: str = "e", digest: bytes = ONE, resend_within_s: float | None = None
) -> Answer:
    return (await memory.claim(T, [(event_id, digest)], resend_within_s=resend_within_s, deadline=LATER))[0]


def accepted(event_id: str = "e") -> Submitted:
    return Submitted(event_id=event_id, duplicate=False, accepted_at=1.0)


async def end(memory: EventMemory, claim: Answer, error: GatewayError | None = None) -> None:
    assert isinstance(claim, Claim)
    result = accepted(claim.event_id) if error is None else Failed(event_id=claim.event_id, error=error)
    await memory.settle(T, [(claim, result)], LATER)


async def test_an_accepted_event_is_recalled_for_a_day() -> None:
    """The same content gets the first result; after a day the id is free."""
    clock = ManualClock()
    memory = EventMemory(clock)
    await end(memory, await ask(memory))
    clock.advance(REMEMBER_S - 1)
    assert await ask(memory) is Recalled.ACCEPTED
    clock.advance(2)
    assert isinstance(await ask(memory), Claim)


async def test_different_content_is_refused_in_any_state_of_the_first() -> None:
    """While it is on its way, and when it was accepted."""
    memory = EventMemory(ManualClock())
    claim = await ask(memory)
    assert await ask(memory, digest=OTHER) is Recalled.REUSED
    await end(memory, claim)
    assert await ask(memory, digest=OTHER) is Recalled.REUSED


async def test_ids_of_tenants_do_not_meet() -> None:
    """Each has its own."""
    memory = EventMemory(ManualClock())
    await end(memory, await ask(memory))
    answers = await memory.claim(TenantId("u"), [("e", OTHER)], resend_within_s=None, deadline=LATER)
    assert isinstance(answers[0], Claim)


async def test_the_same_event_twice_at_once_waits_for_the_first() -> None:
    """Within one batch as between calls."""
    memory = EventMemory(ManualClock())
    first, second, reused = await memory.claim(
        T, [("e", ONE), ("e", ONE), ("e", OTHER)], resend_within_s=None, deadline=LATER
    )
    assert isinstance(first, Claim)
    assert second == Awaited(first)
    assert reused is Recalled.REUSED
    await end(memory, first)
    assert first.settled.is_set()
    assert first.result == accepted()


@pytest.mark.parametrize(
    "error",
    [errors.PhoenixRefusedInput(), errors.PhoenixRateLimited(), errors.PhoenixUnavailable(), errors.CircuitOpen()],
)
async def test_what_phoenix_certainly_does_not_have_may_be_sent_again(error: GatewayError) -> None:
    """Corrected content under the same id too."""
    memory = EventMemory(ManualClock())
    await end(memory, await ask(memory), error)
    assert isinstance(await ask(memory, digest=OTHER), Claim)


@pytest.mark.parametrize(
    "error", [errors.OutcomeUnknown(), errors.OutcomeUnknown(effect=errors.Effect.DONE), errors.InternalFault()]
)
async def test_an_unknown_outcome_stays_unknown(error: GatewayError) -> None:
    """Without deduplication the event is never sent a second time under its id."""
    memory = EventMemory(ManualClock())
    await end(memory, await ask(memory), error)
    assert await ask(memory) is Recalled.UNKNOWN


async def test_an_unknown_outcome_is_sent_again_while_phoenix_deduplicates() -> None:
    """Counted from the first sending; a certain failure of a later one does not make the first certain."""
    clock = ManualClock()
    memory = EventMemory(clock)
    await end(memory, await ask(memory, resend_within_s=220), errors.OutcomeUnknown())
    clock.advance(120)
    again = await ask(memory, resend_within_s=220)
    await end(memory, again, errors.PhoenixRateLimited())
    clock.advance(99)
    again = await ask(memory, resend_within_s=220)
    assert isinstance(again, Claim)
    await end(memory, again, errors.CircuitOpen())
    clock.advance(2)
    assert await ask(memory, resend_within_s=220) is Recalled.UNKNOWN


async def test_memory_is_bounded() -> None:
    """The oldest go first."""
    memory = EventMemory(ManualClock(), settings=MemorySettings(max_ids=3))
    for number in range(5):
        await end(memory, await ask(memory, f"e{number}"))
    assert len(memory) == 3
    assert await ask(memory, "e4") is Recalled.ACCEPTED
    assert isinstance(await ask(memory, "e0"), Claim)


async def test_an_unknown_outcome_from_the_future_is_not_sent_again() -> None:
    """The clock was set back by ten minutes: Phoenix may have forgotten the id long before its age shows it."""
    clock = ManualClock()
    memory = EventMemory(clock)
    await end(memory, await ask(memory, resend_within_s=220), errors.OutcomeUnknown())
    sent_at = clock.now()
    clock.set_wall(sent_at - 4)
    await end(memory, await ask(memory, resend_within_s=220), errors.OutcomeUnknown())
    clock.set_wall(sent_at - 600)
    assert await ask(memory, resend_within_s=220) is Recalled.UNKNOWN


async def test_another_replica_recalls_what_this_one_sent() -> None:
    """One round trip for a whole batch, and one for its result."""
    clock, shared = ManualClock(), Shared()
    here, there = EventMemory(clock, shared), EventMemory(clock, shared)
    wanted = [(f"e{number}", ONE) for number in range(50)]
    claims = await here.claim(T, wanted, resend_within_s=None, deadline=LATER)
    await here.settle(T, [(claim, accepted(claim.event_id)) for claim in claims if isinstance(claim, Claim)], LATER)
    await here.close()
    assert shared.trips == 2
    assert await there.claim(T, wanted, resend_within_s=None, deadline=LATER) == [Recalled.ACCEPTED] * 50
    assert shared.trips == 3
    assert await ask(there, "e7", OTHER) is Recalled.REUSED


async def test_what_this_process_knows_is_not_asked_of_others() -> None:
    """No round trip for it."""
    shared = Shared()
    memory = EventMemory(ManualClock(), shared)
    await end(memory, await ask(memory))
    trips = shared.trips
    assert await ask(memory) is Recalled.ACCEPTED
    assert shared.trips == trips


async def test_an_event_under_way_elsewhere_is_unknown_here() -> None:
    """Unless Phoenix deduplicates: then both may send it."""
    clock, shared = ManualClock(), Shared()
    here, there = EventMemory(clock, shared), EventMemory(clock, shared)
    await ask(here)
    assert await ask(there) is Recalled.UNKNOWN
    assert len(there) == 0
    assert isinstance(await ask(there, resend_within_s=220), Claim)


async def test_a_certain_failure_frees_the_id_everywhere() -> None:
    """The entry is taken away."""
    clock, shared = ManualClock(), Shared()
    here, there = EventMemory(clock, shared), EventMemory(clock, shared)
    await end(here, await ask(here), errors.PhoenixRateLimited())
    assert isinstance(await ask(there), Claim)


async def test_without_the_shared_memory_the_process_remembers_alone() -> None:
    """Best effort: nothing fails."""
    shared = Shared()
    shared.is_gone = True
    memory = EventMemory(ManualClock(), shared)
    await end(memory, await ask(memory))
    assert await ask(memory) is Recalled.ACCEPTED


async def test_a_waiter_for_a_known_id_gets_the_same_result() -> None:
    """A repeat within the batch."""
    clock, shared = ManualClock(), Shared()
    shared.entries[(T, "e")] = RememberedEvent(state=EventState.ACCEPTED, at=clock.now(), digest=ONE)
    first, second = await EventMemory(clock, shared).claim(
        T, [("e", ONE), ("e", ONE)], resend_within_s=None, deadline=LATER
    )
    assert first is Recalled.ACCEPTED
    assert isinstance(second, Awaited)
    assert second.claim.recalled is Recalled.ACCEPTED
    assert second.claim.settled.is_set()
