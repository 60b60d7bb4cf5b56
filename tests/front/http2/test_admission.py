"""Admission: the limit follows latency, the queue is short in time, money goes first, callers take turns."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from gateway.front.http2.admission import Admission, AdmissionSettings, Priority, RefusalBudget


@dataclass(eq=False)
class Waiting:
    """A call that arrives at 0 and has time until `deadline_at`."""

    name: str = ""
    deadline_at: float = 1000.0
    arrived_at: float = 0.0


def full(**changes: float) -> Admission[Waiting]:
    """An admission with its one place taken, and a known rate of 1,000 calls a second."""
    settings = {"first_limit": 1.0, "min_limit": 1.0, "max_limit": 1.0, "max_wait_s": 0.02, **changes}
    made: Admission[Waiting] = Admission(AdmissionSettings(**settings))
    assert made.offer(Waiting("first"), "a", Priority.READ, 0.0) == (True, [])
    made.rate = 1000.0
    return made


def order(admission: Admission[Waiting], count: int) -> list[str]:
    """The names of the next calls that start, one finishing after the other."""
    names = []
    for _ in range(count):
        started, _ = admission.done("m", 0.001, 0.001)
        names += [one.name for one in started]
    return names


def test_calls_below_the_limit_start_at_once() -> None:
    """No queue where there is room."""
    admission: Admission[Waiting] = Admission(AdmissionSettings(first_limit=3.0))
    assert [True] * 3 == [admission.offer(Waiting(), "a", Priority.READ, 0.0)[0] for _ in range(3)]
    assert admission.offer(Waiting(), "a", Priority.READ, 0.0) == (False, [])


def test_money_goes_before_reads_before_batches() -> None:
    """Whatever came first."""
    admission = full()
    for priority in (Priority.BATCH, Priority.READ, Priority.MONEY):
        admission.offer(Waiting(priority.name), "a", priority, 0.0)
    assert ["MONEY", "READ", "BATCH"] == order(admission, 3)


def test_callers_take_turns() -> None:
    """Ten calls of one caller and two of another: the second one waits for one of the first, not for ten."""
    admission = full()
    for number in range(10):
        admission.offer(Waiting(f"loud {number}"), "loud", Priority.READ, 0.0)
    for number in range(2):
        admission.offer(Waiting(f"quiet {number}"), "quiet", Priority.READ, 0.0)
    assert {"quiet 0", "quiet 1"} <= set(order(admission, 4))


def test_a_callers_own_calls_go_by_their_deadlines() -> None:
    """The one with the least time left is first."""
    admission = full()
    for name, deadline in (("late", 9.0), ("soon", 1.0), ("later", 99.0)):
        admission.offer(Waiting(name, deadline_at=deadline), "a", Priority.READ, 0.0)
    assert ["soon", "late", "later"] == order(admission, 3)


def test_the_queue_is_bounded_in_time_and_the_greedy_pay() -> None:
    """At 1,000 calls a second and 20 ms, 20 calls wait; whoever has most of them loses one to a newcomer."""
    admission = full()
    refused = [one for n in range(30) for one in admission.offer(Waiting(f"loud {n}"), "loud", Priority.READ, 0.0)[1]]
    assert 10 == len(refused)
    starts, dropped = admission.offer(Waiting("quiet"), "quiet", Priority.READ, 0.0)
    assert (starts, ["loud"]) == (False, [one.name.split()[0] for one in dropped])


def test_batches_are_refused_before_money() -> None:
    """A full queue of batches gives way."""
    admission = full()
    for _ in range(20):
        admission.offer(Waiting("batch"), "a", Priority.BATCH, 0.0)
    _, refused = admission.offer(Waiting("money"), "a", Priority.MONEY, 0.0)
    assert ["batch"] == [one.name for one in refused]


def test_a_call_that_can_no_longer_be_served_is_refused_and_not_started() -> None:
    """Its deadline passed while it waited, or it waited too long."""
    admission = full()
    admission.offer(Waiting("dead", deadline_at=0.005), "a", Priority.READ, 0.0)
    admission.offer(Waiting("alive", arrived_at=0.005), "a", Priority.READ, 0.005)
    started, refused = admission.done("m", 0.001, 0.01)
    assert (["alive"], ["dead"]) == ([one.name for one in started], [one.name for one in refused])


def test_expiry_refuses_what_waited_too_long() -> None:
    """Also while nothing finishes."""
    admission = full()
    admission.offer(Waiting("old"), "a", Priority.READ, 0.0)
    assert admission.expire(0.019) == ([], [])
    started, refused = admission.expire(0.021)
    assert ([], ["old"]) == (started, [one.name for one in refused])
    assert 0 == admission.queued


def test_the_limit_shrinks_with_slowness_and_grows_back() -> None:
    """Ten times the unloaded latency halves it in steps; unloaded latency lets it grow while calls wait."""
    admission: Admission[Waiting] = Admission(AdmissionSettings(first_limit=100.0, min_limit=2.0))
    now = 0.0
    for latency, direction in ((0.01, 1), (0.2, -1), (0.01, 1)):
        before = admission.limit
        for _ in range(200):
            while admission.offer(Waiting(arrived_at=now), "a", Priority.READ, now)[0]:
                pass
            now += 0.01
            admission.done("m", latency, now)
        assert (admission.limit > before) is (direction > 0)


@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["offer", "done", "expire", "withdraw"]), st.integers(0, 3), st.sampled_from(Priority)
        ),
        max_size=200,
    )
)
def test_no_call_is_lost_or_counted_twice(steps: list[tuple[str, int, Priority]]) -> None:
    """Each call starts once, is refused once, is withdrawn once, or still waits; the counts agree."""
    admission: Admission[Waiting] = Admission(AdmissionSettings(first_limit=2.0, min_limit=1.0, max_wait_s=0.03))
    ends: Counter[Waiting] = Counter()
    waiting: list[Waiting] = []
    running, now = 0, 0.0
    for step, number, priority in steps:
        now += 0.005
        started: list[Waiting] = []
        refused: list[Waiting] = []
        if step == "offer":
            call = Waiting(deadline_at=now + 0.01 * number, arrived_at=now)
            starts, refused = admission.offer(call, str(number), priority, now)
            running += starts
            ends[call] += starts
            if not starts:
                waiting.append(call)
        elif step == "done" and running:
            running -= 1
            started, refused = admission.done("m", 0.01, now)
        elif step == "expire":
            started, refused = admission.expire(now)
        elif step == "withdraw" and waiting:
            call = waiting[number % len(waiting)]
            assert admission.withdraw(call)
            refused = [call]
        running += len(started)
        ends.update([*started, *refused])
        waiting = [one for one in waiting if one not in started and one not in refused]
        assert (running, len(waiting)) == (admission.running, admission.queued)
    assert all(count <= 1 for count in ends.values())


def test_refusals_pay_from_a_budget() -> None:
    """A burst is free; then a client waits until the share of the time has paid for its refusals."""
    budget = RefusalBudget(share=0.1, cost_s=0.001, burst_s=0.002)
    assert [0.0, 0.0] == [budget.spend(1.0), budget.spend(1.0)]
    assert 0.009 < budget.spend(1.0) < 0.011
    assert budget.spend(2.0) == 0.0
