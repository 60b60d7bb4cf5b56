"""How many calls a caller may cancel before its connections are read seldom."""

from __future__ import annotations

from gateway.front.http2.cancellations import AT_ONCE, PER_S, YOUNG_S, Cancellations

NOW = 1000.0


def cancelled(cancellations: Cancellations, caller: str, times: float, now: float = NOW) -> list[bool]:
    return [cancellations.note_cancelled(caller, now, now) for _ in range(int(times))]


def test_a_caller_may_cancel_so_many_at_once_and_so_many_a_second() -> None:
    """Another caller's are counted by themselves."""
    cancellations = Cancellations()
    assert not any(cancelled(cancellations, "a", AT_ONCE))
    assert [True] == cancelled(cancellations, "a", 1)
    assert [False] == cancelled(cancellations, "b", 1)
    assert [False] * int(PER_S - 1) + [True] == cancelled(cancellations, "a", PER_S, NOW + 1)


def test_each_answer_lets_a_caller_cancel_another_call() -> None:
    """Clients that hedge cancel half of their calls; answers are not saved up beyond what is allowed at once."""
    cancellations = Cancellations()
    for _ in range(int(3 * AT_ONCE)):
        assert cancelled(cancellations, "a", 1) == [False]
        cancellations.note_answered("a")
    for _ in range(int(2 * AT_ONCE)):
        cancellations.note_answered("a")
    assert cancelled(cancellations, "a", AT_ONCE + 1)[-2:] == [False, True]


def test_a_flood_is_forgiven_after_a_while() -> None:
    """However long it was: what it owes is bounded."""
    cancellations = Cancellations()
    cancelled(cancellations, "a", 10 * AT_ONCE)
    assert [True] == cancelled(cancellations, "a", 1, NOW + 0.9 * AT_ONCE / PER_S)
    assert [False] == cancelled(cancellations, "a", 1, NOW + 1.1 * AT_ONCE / PER_S)


def test_an_old_call_is_not_counted() -> None:
    """A caller that waits so long cancels few."""
    cancellations = Cancellations(at_once=1, per_s=0)
    for _ in range(3):
        assert not cancellations.note_cancelled("a", NOW - YOUNG_S, NOW)
    assert [False, True] == cancelled(cancellations, "a", 2)


def test_callers_that_cancel_nothing_any_more_are_forgotten() -> None:
    """Certificates come and go."""
    cancellations = Cancellations()
    for number in range(100):
        cancelled(cancellations, f"caller-{number}", 3)
    cancelled(cancellations, "a", 1, NOW + 60.0)
    assert ["a"] == list(cancellations._left)
