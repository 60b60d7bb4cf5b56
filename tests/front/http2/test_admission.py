"""Admission: turns of the loop, bursts that wait, overload that is cut short, a limit that follows latency."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.front.http2.admission import Admission, AdmissionSettings
from gateway.front.http2.fair_queue import Priority


@dataclass(eq=False)
class Waiting:
    """A call that has time until `deadline_at`."""

    name: str = ""
    deadline_at: float = 1000.0


def admission_of(**changes: float) -> Admission[Waiting]:
    """An admission where a call takes 1 ms of the loop, and where nothing is at work."""
    made: Admission[Waiting] = Admission(AdmissionSettings(**{"turn_s": 0.001, "window_s": 1e9, **changes}))  # type: ignore[arg-type]
    made.cost_s = 0.001
    made.turn(0.0)
    return made


def offered(admission: Admission[Waiting], count: int, now: float, caller: str = "a") -> tuple[int, int]:
    """Offer calls of one moment; return how many started and how many were refused."""
    started = refused = 0
    for _ in range(count):
        starts, dropped = admission.offer(Waiting(), caller, Priority.READ, now)
        started += starts
        refused += len(dropped)
    return started, refused


def overloaded(**changes: float) -> Admission[Waiting]:
    """An admission where more than `burst` waited and did not become fewer, and that has caught up."""
    made = admission_of(**{"burst": 2, **changes})
    made.turn(0.0)
    offered(made, int(changes.get("burst", 2)) + 4, 0.0)
    for now in (0.11, 0.22):
        assert not made.is_overloaded(now)
        offered(made, 2, now)
        made.cost_s = 0.05  # it was at work meanwhile
        for _ in made.turn(now)[0]:
            made.abandoned(now)
        made.cost_s = 0.001
    assert made.is_overloaded(0.22)
    drain(made, 0.22)
    return made


def drain(admission: Admission[Waiting], now: float) -> None:
    """Start all that wait."""
    while admission.queued:
        admission.turn(now)


def test_calls_that_fit_into_a_turn_start_at_once() -> None:
    """The others wait for the next turns."""
    admission = admission_of(turn_s=0.003)
    assert (3, 0) == offered(admission, 5, 0.0)
    assert 2 == admission.queued
    assert 2 == len(admission.turn(0.001)[0])


def test_no_more_than_the_limit_is_at_work() -> None:
    """Then a turn starts nothing, and says so, until a call has finished."""
    admission = admission_of(first_limit=2, min_limit=1, turn_s=1.0)
    assert (2, 0) == offered(admission, 3, 0.0)
    assert (False, ([], [])) == (admission.can_start, admission.turn(0.001))
    admission.done("m", 0.001, 0.001)
    assert (True, 1) == (admission.can_start, len(admission.turn(0.001)[0]))


def test_callers_that_wait_for_their_answers_are_never_refused() -> None:
    """50 calls in flight, for as long as one likes: each waits 50 ms, and that is no overload."""
    admission = admission_of()
    offered(admission, 50, 0.0)
    for number in range(1, 1000):
        now = number * 0.001
        admission.done("m", 0.001, now)
        admission.turn(now)
        assert (0, 0) == offered(admission, 1, now)


def test_a_burst_waits_and_is_served() -> None:
    """Nothing is refused while the queue becomes shorter."""
    admission = admission_of()
    assert (1, 0) == offered(admission, 500, 0.0)
    served = 0
    for number in range(1, 500):
        started, refused = admission.turn(number * 0.001)
        served += len(started)
        assert [] == refused
    assert 499 == served


def test_a_process_without_cpu_time_is_not_overloaded_by_what_it_finds() -> None:
    """It gets an eighth of a core: what waited in its sockets is read little by little, and outlasts `patience_s`."""
    admission = admission_of()
    for number in range(300):
        now = 10.0 + number * 0.008
        assert [] == admission.turn(now)[1]
        assert 0 == offered(admission, 5 if number < 40 else 0, now)[1]
    assert 0 == admission.queued


def test_a_queue_that_stays_long_is_overload() -> None:
    """From then on what cannot start within `max_wait_s` is refused, before anything is spent on it."""
    admission = overloaded(max_wait_s=0.003)
    assert (0, 7) == offered(admission, 10, 0.23)
    assert admission.sheds("a", Priority.READ, 0.23)
    assert not admission.sheds("quiet", Priority.READ, 0.23)
    assert not admission.sheds("a", Priority.MONEY, 0.23)


def test_a_quiet_caller_takes_the_place_of_a_greedy_one() -> None:
    """Under overload the newcomer is not the one to go."""
    admission = overloaded()
    offered(admission, 10, 0.23, "loud")
    starts, dropped = admission.offer(Waiting("quiet"), "quiet", Priority.READ, 0.23)
    assert (False, [""]) == (starts, [one.name for one in dropped])


@pytest.mark.parametrize("flooded", [Priority.READ, Priority.MONEY])
def test_a_quiet_caller_is_never_refused_and_goes_first(flooded: Priority) -> None:
    """One call a turn can start. Another caller offers ten a turn; the quiet one's calls come in bunches of ten, one in
    twenty of what can start. Each starts within four turns for each call before it, also behind a flood of money."""
    admission, since = overloaded(burst=16), dict[str, int]()
    refused: list[Waiting] = []
    slowest = 0
    for turn in range(5000):
        now = 0.23 + turn * 0.001
        if turn % 200 == 100:
            bunch = [Waiting(f"quiet {turn} {number}") for number in range(10)]
            since.update((one.name, turn) for one in bunch)
            for one in bunch:
                assert not admission.sheds("quiet", Priority.READ, now)
                starts, dropped = admission.offer(one, "quiet", Priority.READ, now)
                refused += dropped
                if starts:
                    admission.done("m", 0.001, now)
                    del since[one.name]
        for _ in range(10):
            refused += admission.offer(Waiting("loud"), "loud", flooded, now)[1]
        started, cut = admission.turn(now)
        refused += cut
        for one in started:
            admission.done("m", 0.001, now)
            if one.name != "loud":
                slowest = max(slowest, turn - since.pop(one.name))
    assert {"loud"} == {one.name for one in refused}
    assert {} == since
    assert slowest <= (10 if flooded is Priority.READ else 40)


def test_a_modest_callers_call_starts_at_once() -> None:
    """Under overload, as many as start in a turn, and not before a call of a better priority that waits."""
    admission = overloaded()
    for _ in range(100):
        offered(admission, 3, 0.23, "loud")
        admission.turn(0.23)
    calls = [(Priority.READ, True), (Priority.READ, False)]
    assert [starts for _, starts in calls] == [
        admission.offer(Waiting(), "quiet", priority, 0.23)[0] for priority, _ in calls
    ]
    drain(admission, 0.24)
    offered(admission, 20, 0.24, "loud")
    assert not admission.offer(Waiting(), "other", Priority.BATCH, 0.24)[0]


def test_turns_are_short_beside_a_modest_caller() -> None:
    """Under overload, and not for calls that wait for Phoenix: short turns cost a third of all events."""

    def started_in_a_turn(at_work: int = 0, *, has_quiet_caller: bool = False) -> int:
        admission = overloaded(max_wait_s=0.02)
        admission.cost_s = 0.00009
        admission.running = at_work
        offered(admission, 60, 0.23)
        if has_quiet_caller:
            admission.turn(0.23)
            assert admission.offer(Waiting(), "quiet", Priority.READ, 0.23)[0]
        return len(admission.turn(0.24)[0])

    assert 11 == started_in_a_turn()
    assert 11 == started_in_a_turn(at_work=30)
    assert 3 == started_in_a_turn(has_quiet_caller=True)


def test_overload_ends_when_nothing_was_refused_for_a_while() -> None:
    """Then bursts may wait again."""
    admission = overloaded(calm_s=1.0)
    assert 0 < offered(admission, 10, 0.6)[1]
    drain(admission, 0.6)
    assert 0 < offered(admission, 10, 1.4)[1]
    drain(admission, 1.4)
    assert 0 == offered(admission, 10, 2.5)[1]


def test_so_many_never_wait() -> None:
    """However short the burst was."""
    admission = admission_of(max_queued=100)
    assert (1, 99) == offered(admission, 200, 0.0)


def test_a_call_that_can_no_longer_be_served_is_refused_and_not_started() -> None:
    """Its deadline passed while it waited."""
    admission = admission_of()
    offered(admission, 1, 0.0)
    admission.offer(Waiting("dead", deadline_at=0.005), "a", Priority.READ, 0.0)
    admission.offer(Waiting("alive"), "a", Priority.READ, 0.0)
    started, refused = admission.turn(0.01)
    assert (["alive"], ["dead"]) == ([one.name for one in started], [one.name for one in refused])


def test_calls_that_are_held_up_by_those_at_work_are_refused_in_time() -> None:
    """Under overload, once the limit is reached. A process that got no CPU time for a while refuses nothing."""
    admission = overloaded(max_wait_s=1.0, first_limit=9, min_limit=9)
    assert 8 == admission.running
    admission.turn(0.3)
    offered(admission, 1, 0.3)
    admission.offer(Waiting("held up"), "a", Priority.READ, 0.3)
    assert [] == admission.expire(0.307)
    assert ["held up"] == [one.name for one in admission.expire(0.309)]
    admission = overloaded(max_wait_s=1.0)
    offered(admission, 2, 0.3)
    assert [] == admission.expire(5.0)


def test_the_cost_of_a_call_follows_what_calls_take() -> None:
    """And a rare dear one moves it little."""
    admission: Admission[Waiting] = Admission()
    for _ in range(100):
        admission.note_cost(0.0002)
    assert 0.00019 < admission.cost_s < 0.00021
    admission.note_cost(10.0)
    assert admission.cost_s < 0.00025
    for _ in range(200):
        admission.note_cost(0.002)
    assert admission.cost_s > 0.0019


@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["offer", "done", "turn", "expire", "withdraw"]),
            st.integers(0, 3),
            st.sampled_from(Priority),
        ),
        max_size=200,
    )
)
def test_no_call_is_lost_or_counted_twice(steps: list[tuple[str, int, Priority]]) -> None:
    """Each call starts once, is refused once, is withdrawn once, or still waits; the counts agree."""
    admission = admission_of(first_limit=2, min_limit=1, burst=1, patience_s=0.005, max_queued=5)
    ends: Counter[Waiting] = Counter()
    waiting: list[Waiting] = []
    running, now = 0, 0.0
    for step, number, priority in steps:
        now += 0.005
        started: list[Waiting] = []
        refused: list[Waiting] = []
        if step == "offer":
            call = Waiting(deadline_at=now + 0.01 * number)
            starts, refused = admission.offer(call, str(number), priority, now)
            if starts:
                started = [call]
            waiting.append(call)
        elif step == "done" and running:
            running -= 1
            admission.done("m", 0.01, now)
        elif step == "turn":
            started, refused = admission.turn(now)
        elif step == "expire":
            refused = admission.expire(now)
        elif step == "withdraw" and waiting:
            call = waiting[number % len(waiting)]
            assert admission.withdraw(call)
            refused = [call]
        running += len(started)
        ends.update([*started, *refused])
        waiting = [one for one in waiting if one not in started and one not in refused]
        assert (running, len(waiting)) == (admission.running, admission.queued)
    assert all(count <= 1 for count in ends.values())
