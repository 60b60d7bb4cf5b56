"""The queue of calls that wait: money goes first, callers take turns, the greedy pay."""

from __future__ import annotations

import time
from dataclasses import dataclass

from gateway.front.http2.fair_queue import FairQueue, Priority


@dataclass(eq=False)
class Waiting:
    """A call that has time until `deadline_at`."""

    name: str = ""
    deadline_at: float = 1000.0


def order(queue: FairQueue[Waiting], count: int) -> list[str]:
    """The names of the next calls."""
    return [queue.pop().name for _ in range(count)]


def test_money_goes_before_reads_before_batches() -> None:
    """Whatever came first."""
    queue: FairQueue[Waiting] = FairQueue()
    for priority in (Priority.BATCH, Priority.READ, Priority.MONEY):
        queue.push(Waiting(priority.name), "a", priority, 1.0, 0.0)
    assert ["MONEY", "READ", "BATCH"] == order(queue, 3)


def test_callers_take_turns() -> None:
    """Ten calls of one caller and two of another: the second one waits for one of the first, not for ten."""
    queue: FairQueue[Waiting] = FairQueue()
    for number in range(10):
        queue.push(Waiting(f"loud {number}"), "loud", Priority.READ, 1.0, 0.0)
    for number in range(2):
        queue.push(Waiting(f"quiet {number}"), "quiet", Priority.READ, 1.0, 0.0)
    assert {"quiet 0", "quiet 1"} <= set(order(queue, 4))


def test_a_callers_own_calls_go_by_their_deadlines() -> None:
    """The one with the least time left is first, and the one with the most is dropped."""
    queue: FairQueue[Waiting] = FairQueue()
    for name, deadline in (("late", 9.0), ("soon", 1.0), ("later", 99.0), ("latest", 999.0)):
        queue.push(Waiting(name, deadline_at=deadline), "a", Priority.READ, 1.0, 0.0)
    assert "latest" == getattr(queue.drop(), "name", None)
    assert ["soon", "late", "later"] == order(queue, 3)


def test_the_greediest_of_the_last_priority_is_dropped() -> None:
    """Batches go before money, and of the batches the caller's with the most. Only callers that have had much go."""
    queue: FairQueue[Waiting] = FairQueue()
    for caller, calls, priority in (("a", 9, Priority.MONEY), ("b", 1, Priority.BATCH), ("c", 8, Priority.BATCH)):
        for _ in range(calls):
            queue.push(Waiting(caller), caller, priority, 1.0, 0.0)
    dropped = [queue.drop() for _ in range(12)]
    assert ["c", "c"] == [one.name for one in dropped[:2] if one is not None]
    assert "b" not in {one.name for one in dropped if one is not None}


def test_a_newcomer_is_dropped_only_if_nobody_has_less_right() -> None:
    """The caller with the most calls is; one with fewer is not, nor is a better priority; a worse one always is."""
    queue: FairQueue[Waiting] = FairQueue()
    for caller in ("loud", "loud", "other"):
        queue.push(Waiting(caller), caller, Priority.READ, 1.0, 0.0)
    asked = [("loud", Priority.READ), ("quiet", Priority.READ), ("loud", Priority.MONEY), ("quiet", Priority.BATCH)]
    assert [True, False, False, True] == [queue.would_drop(caller, priority) for caller, priority in asked]


def test_what_is_old_or_withdrawn_is_out() -> None:
    """And only that."""
    queue: FairQueue[Waiting] = FairQueue()
    calls = [Waiting(str(number)) for number in range(4)]
    for entered_at, call in enumerate(calls):
        queue.push(call, call.name, Priority.READ, 1.0, float(entered_at))
    assert calls[:2] == queue.older_than(2.0, 3.0)
    assert [True, False] == [queue.withdraw(calls[3]), queue.withdraw(calls[0])]
    assert (1, "2") == (len(queue), queue.pop().name)


def test_a_modest_caller_goes_before_greedy_ones() -> None:
    """Behind other modest ones, and only while it is modest."""
    queue: FairQueue[Waiting] = FairQueue()
    for caller in ("loud", "noisy"):
        for _ in range(5):
            queue.push(Waiting(caller), caller, Priority.READ, 1.0, 0.0)
    for caller in ("quiet", "calm"):
        queue.push(Waiting(caller), caller, Priority.READ, 1.0, 0.0)
    assert ["quiet", "calm", "loud"] == order(queue, 3)


def test_what_a_caller_has_had_is_forgotten() -> None:
    """Who was greedy seconds ago is as modest as any other beside who is greedy now."""
    queue: FairQueue[Waiting] = FairQueue()
    for caller, at in (("former", 0.0), ("present", 10.0)):
        for _ in range(9):
            queue.push(Waiting(caller), caller, Priority.READ, 1.0, at)
        assert not queue.is_modest(caller)
        order(queue, 9)
    assert queue.is_modest("former")
    assert not queue.is_modest("present")


def test_one_of_many_is_refused_as_quickly_as_one_of_few() -> None:
    """A flood fills the queue, and the loop takes no other call while it is cut."""
    slowest, quickest = (min(_refusals_s(count) for _ in range(5)) for count in (2048, 16))
    assert slowest < 6 * quickest


def _refusals_s(count: int) -> float:
    """CPU seconds of 200 calls that are refused in a queue of so many."""
    queue: FairQueue[Waiting] = FairQueue()
    for number in range(count + 200):
        queue.push(Waiting(deadline_at=float(number)), "a", Priority.READ, 1.0, 0.0)
    began = time.process_time()
    for _ in range(200):
        queue.drop()
    return time.process_time() - began
