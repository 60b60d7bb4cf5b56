"""Properties of event submission over every sequence of Phoenix's actions and lost answers.

A model of Phoenix counts the events that it acts on. Callers behave as clients and service meshes do: they retry
UNAVAILABLE, and some send an undecided event again under its id.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import event as note
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.actions.events.submit_events import SubmitEvents
from gateway.core.wire import BulkEnvelope
from gateway.errors import Effect, GatewayError, OutcomeUnknown
from gateway.phoenix.gamification.pending_event import Failed, Submitted
from gateway.phoenix.http_types import Answer, AnswerGarbled, AnswerLost, ExchangeFailed, NotSent, Request, TimedOut
from gateway.resilience.deadline import Deadline
from tests.actions.events.gated_phoenix import call, event, submit_to

Says = int | Callable[[], ExchangeFailed]

NEVER_READ: list[Says] = [lambda: NotSent("refused"), lambda: TimedOut("late", sent=False)]
REFUSALS: list[Says] = [401, 403, 404, 408, 413, 425, 429, 503, 302]
"""Answers that say that nothing was done."""
REFUSALS_OF_BYTES_OR_STATE: list[Says] = [400, 409, 422]
"""Answers that are final for a single event; a bulk call with this answer may be accepted in part."""
DOUBTS: list[Says] = [500, 502, 504, 599, 799, *(map(lambda kind: lambda: kind("x"), (AnswerLost, AnswerGarbled)))]
DOUBTS.append(lambda: TimedOut("late", sent=True))


@dataclass(frozen=True, slots=True)
class Step:
    """What Phoenix does with one request, and its answer. `share` is the share of events that it acts on."""

    says: Says
    share: float = 0.0

    def __repr__(self) -> str:
        name = str(self.says) if isinstance(self.says, int) else repr(self.says())
        return f"<{name} acts on {self.share:g}>"


DOUBT = st.sampled_from([Step(says, share) for says in DOUBTS for share in (0.5, 1.0, 0.0)])
UNTAKEN = st.sampled_from([Step(says) for says in (503, 408, *NEVER_READ, *REFUSALS)])
ANY = st.sampled_from(
    [Step(202, 1.0), Step(404), *(Step(says, share) for says in REFUSALS_OF_BYTES_OR_STATE for share in (0.0, 0.5))]
)
STEPS = st.tuples(DOUBT, UNTAKEN, ANY).flatmap(lambda few: st.lists(st.sampled_from(few), min_size=3, max_size=12))
"""Only a few kinds of failure at a time, so that all orders occur."""


@dataclass(slots=True)
class ModelPhoenix:
    """Plays the steps, then accepts; it reports a conflict only for an id that it has or sees for the first time.

    `deduplicates`: it counts an id once, and answers a repeat with `repeat_status`.
    """

    steps: list[Step]
    deduplicates: bool
    repeat_status: int
    effects: Counter[str] = field(default_factory=Counter)
    received: Counter[str] = field(default_factory=Counter)

    async def send(self, request: Request, deadline: Deadline, max_answer_bytes: int = 0) -> Answer:
        body: Any = json.loads(request.body)
        is_bulk = request.raw_path.endswith("bulk")
        ids = [one["event_id"] for one in (body["events"] if is_bulk else [body])]
        step = self.steps.pop(0) if self.steps else Step(202, 1.0)
        if step.says == 409 and any(self.received[one] and not self.effects[one] for one in ids):
            step = Step(202, 1.0)
        self.received.update(ids)
        share = 0.0 if not is_bulk and step.says in REFUSALS_OF_BYTES_OR_STATE else step.share
        was_there = self.deduplicates and all(self.effects[one] for one in ids)
        for one in ids[: round(len(ids) * share + 0.25)]:
            self.effects[one] = 1 if self.deduplicates else self.effects[one] + 1
        if not isinstance(step.says, int):
            raise step.says()
        status = self.repeat_status if step.says == 202 and was_there and not is_bulk else step.says
        return Answer(status=status)


@dataclass(slots=True)
class Caller:
    """One event that must count once. `ids` are all ids under which it was sent; the last is the current one."""

    name: str
    has_own_id: bool
    ids: list[str] = field(default_factory=list)
    result: Submitted | Failed | None = None


async def submit(action: SubmitEvents, callers: Sequence[Caller], *, alone: bool, under_last_id: bool = False) -> None:
    """Send the events of these callers, as one batch or one by one."""
    for one in callers:
        if not under_last_id and not (one.has_own_id and one.ids):
            one.ids.append(one.name if one.has_own_id else action.new_event_id())
    events = [event(one.ids[-1], one.name) for one in callers]
    given = {place for place, one in enumerate(callers) if one.has_own_id or under_last_id}
    if not alone:
        results = await action.many("", events, given, call(30.0))
        for one, result in zip(callers, results, strict=True):
            one.result = result
        return
    for place, one in enumerate(callers):
        try:
            one.result = await action.one("", events[place], call(30.0), is_id_given=place in given)
        except GatewayError as error:
            one.result = Failed(event_id=one.ids[-1], error=error)


def failure(one: Caller) -> GatewayError | None:
    return one.result.error if isinstance(one.result, Failed) else None


async def no_pause(seconds: float) -> None:
    """This test does not test time."""


async def scenario(
    steps: list[Step], *, deduplicates: bool, repeat_status: int, bulk: BulkEnvelope | None, own_ids: list[bool]
) -> None:
    """Three callers, in one batch or alone, until nothing is UNAVAILABLE. Then each undecided event is sent again."""
    phoenix = ModelPhoenix(list(steps), deduplicates, repeat_status)
    action = submit_to(phoenix, bulk=bulk, deduplicates=deduplicates, pause=no_pause)
    callers = [Caller(f"c{n}", has_own_id) for n, has_own_id in enumerate(own_ids)]

    def counted(one: Caller) -> int:
        return sum(phoenix.effects[event_id] for event_id in one.ids)

    def check() -> None:
        for one in callers:
            error = failure(one)
            assert counted(one) <= 1, f"{one.name} was counted {counted(one)} times"
            if error is None:
                assert one.has_own_id or counted(one) == 1, f"{one.name} is not counted, and its caller was told OK"
                continue
            note(f"{error.reason} {error.effect.value}")
            assert error.effect is Effect.NONE or error.retry_after_s is None
            if error.code == "UNAVAILABLE":
                assert counted(one) == 0, f"{one.name} is counted, and its caller was told {error.reason}"

    waiting = callers
    for _ in range(12):
        await submit(action, waiting, alone=len(own_ids) == 1)
        check()
        waiting = [one for one in waiting if (error := failure(one)) is not None and error.code == "UNAVAILABLE"]
        if not waiting:
            break
    doubts = [one for one in callers if isinstance(failure(one), OutcomeUnknown)]
    if doubts:
        before = Counter(phoenix.received)
        await submit(action, doubts, alone=len(own_ids) == 1, under_last_id=True)
        check()
        for one in doubts:
            if not deduplicates:
                assert before[one.ids[-1]] == phoenix.received[one.ids[-1]], "an id in doubt was forgotten"


@settings(max_examples=400)
@given(
    steps=STEPS,
    deduplicates=st.booleans(),
    repeat_status=st.sampled_from([202, 409]),
    bulk=st.sampled_from([None, "events"]),
    own_ids=st.lists(st.booleans(), min_size=1, max_size=4),
)
def test_no_event_counts_twice_and_unavailable_means_not_counted(
    steps: list[Step], deduplicates: bool, repeat_status: int, bulk: BulkEnvelope | None, own_ids: list[bool]
) -> None:
    """For all actions and answers of Phoenix, with and without deduplication, bulk and own ids."""
    asyncio.run(scenario(steps, deduplicates=deduplicates, repeat_status=repeat_status, bulk=bulk, own_ids=own_ids))


@settings(max_examples=400)
@given(
    steps=st.tuples(DOUBT, UNTAKEN, st.sampled_from([Step(404), Step(400, 0.5), Step(422, 0.5)])).flatmap(
        lambda few: st.lists(st.sampled_from(few), min_size=4, max_size=12)
    ),
    own_ids=st.lists(st.booleans(), min_size=2, max_size=3),
)
def test_the_same_where_bulk_calls_are_divided_or_not_served(steps: list[Step], own_ids: list[bool]) -> None:
    """A refused bulk call may be accepted in part, also one before the route disappeared."""
    asyncio.run(scenario(steps, deduplicates=True, repeat_status=202, bulk="events", own_ids=own_ids))
