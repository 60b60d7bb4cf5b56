"""The queue against a model of lists: whatever happens in which order, each user's events keep theirs."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.outbox.record import DeadLetterQuery, DeliveryResult, Release, Settled, TakenEvent
from gateway.outbox.store import EventQueue
from gateway.store.sqlite import SqliteDatabase
from tests.evidence.wallet_factory import soon
from tests.manual_clock import ManualClock
from tests.migrated_sqlite import write_migrated
from tests.outbox.event_factory import LEASE_US, TENANT, admitted, new_event, settle, take

USERS = ["ada", "bob", "cid"]
LEASE_S = LEASE_US / 1_000_000
users = st.sampled_from(USERS)
fates = st.sampled_from([DeliveryResult.DELIVERED, DeliveryResult.DEAD, DeliveryResult.AGAIN])


@dataclass
class KeyModel:
    """What the model knows of one user."""

    waiting: list[int] = field(default_factory=list)
    """Numbers of events, in the order in which they must go out."""
    dead: list[int] = field(default_factory=list)
    in_doubt: set[int] = field(default_factory=set)
    """Of the dead: Phoenix may have them, so a redrive holds them back."""
    due: float = 0.0
    lease: int | None = None
    marks: dict[int, float] = field(default_factory=dict)
    """Of events that may have been sent: since when."""


class QueueMachine(RuleBasedStateMachine):
    """Two gateways on one file do random operations. The model defines the expected results."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.directory = tempfile.TemporaryDirectory()
        self.clock = ManualClock()
        self.models = {user: KeyModel() for user in USERS}
        self.users: dict[int, str] = {}
        self.numbers = itertools.count(1)
        self.leases: dict[int, list[TakenEvent]] = {}
        self.open()

    def open(self) -> None:
        path = Path(self.directory.name) / "evidence.sqlite3"
        self.database = SqliteDatabase(write_migrated(path), self.clock)
        self.queue = EventQueue(self.database)
        self.loop.run_until_complete(self._start())

    async def _start(self) -> None:
        self.queue.start()

    def run(self, doing: Any) -> Any:
        return self.loop.run_until_complete(doing)

    def close(self) -> None:
        self.run(self.queue.stop())
        self.run(self.database.stop())

    def teardown(self) -> None:
        self.close()
        self.loop.close()
        self.directory.cleanup()

    @rule(wanted=st.lists(users, min_size=1, max_size=6))
    def admit(self, wanted: list[str]) -> None:
        numbers = [next(self.numbers) for _ in wanted]
        events = [new_event(f"{number}", user) for number, user in zip(numbers, wanted, strict=True)]
        answers = self.run(admitted(self.queue, *events))
        assert {"new"} == {answer.state.value for answer in answers}
        for number, user in zip(numbers, wanted, strict=True):
            model = self.models[user]
            if not model.waiting:
                model.due, model.lease = self.clock.now(), None
            model.waiting.append(number)
            self.users[number] = user

    @rule(number=st.integers(1, 12))
    def admit_again(self, number: int) -> None:
        if number not in self.users:
            return
        user = self.users[number]
        (answer,) = self.run(admitted(self.queue, new_event(f"{number}", user)))
        model = self.models[user]
        expected = "queued" if number in model.waiting else "dead" if number in model.dead else "delivered"
        assert expected == answer.state.value

    @rule(most=st.integers(1, 3))
    def take(self, most: int) -> None:
        now = self.clock.now()
        due = [model for model in self.models.values() if model.waiting and model.due <= now]
        lease_id, taken = self.run(take(self.queue, most))
        assert min(most, len(due)) == len(taken.events)
        for event in taken.events:
            model = self.models[event.user_id]
            number = int(event.event_id)
            assert model in due, "a leased ordering key is already leased or not due"
            assert model.waiting[0] == number, "an event overtook another"
            mark = model.marks.get(number)
            assert event.first_sent_at_us == (None if mark is None else round(mark * 1_000_000))
            model.marks.setdefault(number, now)
            model.lease, model.due = lease_id, now + LEASE_S
        self.leases[lease_id] = list(taken.events)

    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        if not self.leases:
            return
        lease_id = data.draw(st.sampled_from(sorted(self.leases)))
        events = self.leases.pop(lease_id)
        chosen = [(event, data.draw(fates), data.draw(st.sampled_from([0.0, 5.0]))) for event in events]
        outcomes = [
            Settled(
                event=event,
                result=result,
                reason="BOARD_NOT_ACTIVE" if result is DeliveryResult.DEAD else "",
                wait_us=round(wait * 1_000_000),
                first_sent_at_us=event.first_sent_at_us,
            )
            for event, result, wait in chosen
        ]
        held = [event for event in events if self.models[event.user_id].lease == lease_id]
        assert len(held) == self.run(settle(self.queue, lease_id, *outcomes))
        for event, result, wait in chosen:
            if event in held:
                self._end(event, result, wait)

    def _end(self, event: TakenEvent, result: DeliveryResult, wait: float) -> None:
        model = self.models[event.user_id]
        number = int(event.event_id)
        model.lease, model.due = None, self.clock.now()
        if result is DeliveryResult.AGAIN:
            model.due += wait
            if event.first_sent_at_us is None:
                del model.marks[number]
            return
        model.waiting.remove(number)
        model.marks.pop(number)
        if result is DeliveryResult.DEAD:
            model.dead.append(number)
            if event.first_sent_at_us is not None:
                model.in_doubt.add(number)

    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        if not self.leases:
            return
        lease_id = data.draw(st.sampled_from(sorted(self.leases)))
        events = self.leases.pop(lease_id)
        held = [event for event in events if self.models[event.user_id].lease == lease_id]
        assert len(held) == self.run(self.queue.release(Release(lease_id=lease_id, lease_us=LEASE_US), soon()))
        for event in held:
            self._end(event, DeliveryResult.AGAIN, 0.0)

    @rule()
    def redrive(self) -> None:
        dead = {
            number: model for model in self.models.values() for number in model.dead if number not in model.in_doubt
        }
        revived, _ = self.run(self.queue.redrive(DeadLetterQuery(tenant_id=TENANT), soon(), may_count_twice=False))
        assert sorted(dead) == sorted(map(int, revived))
        for number, model in dead.items():
            if not model.waiting:
                model.due, model.lease = self.clock.now(), None
            model.dead.remove(number)
            model.waiting = sorted([*model.waiting, number])  # in its first place

    @rule(seconds=st.sampled_from([1.0, 5.0, LEASE_S]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    def reopen(self) -> None:
        """As after a crash: leases and marks stay as they are."""
        self.close()
        self.open()

    @invariant()
    def depth_is_that_of_the_model(self) -> None:
        depth = self.run(self.queue.depth(soon()))
        models = self.models.values()
        assert (depth.events, depth.dead_letters) == (
            sum(len(model.waiting) for model in models),
            sum(len(model.dead) for model in models),
        )


TestQueueAgainstModel = QueueMachine.TestCase
TestQueueAgainstModel.settings = settings(
    max_examples=30, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
