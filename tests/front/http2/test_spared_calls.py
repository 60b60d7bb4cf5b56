"""Who is refused under overload although there is room, and who is not although there is none: late calls, bursts of
modest callers, outcomes of wallets."""

from __future__ import annotations

from gateway.front.http2.fair_queue import Priority
from tests.front.http2.test_admission import Waiting, drain, offered, overloaded


def test_a_caller_is_spared_only_for_a_burst() -> None:
    """Beyond it, it is refused as any other, however little it has had."""
    admission = overloaded(burst=8)
    for _ in range(100):
        offered(admission, 3, 0.23, "loud")
        admission.turn(0.23)
    calls = [Waiting(f"quiet {number}") for number in range(30)]
    refused = [gone for one in calls for gone in admission.offer(one, "quiet", Priority.READ, 0.23)[1]]
    assert set(refused).isdisjoint(calls[:8])
    assert calls[-1] in refused


def test_a_late_call_is_refused_under_overload() -> None:
    """Although there is room, and a greedier caller waits: its own has probably left. Not a modest caller's, nor an
    outcome."""
    admission = overloaded(burst=8)
    for _ in range(100):
        offered(admission, 3, 0.23, "loud")
        offered(admission, 3, 0.23, "other")
        drain(admission, 0.23)
    offered(admission, 4, 0.23, "loud")
    assert not admission.sheds("other", Priority.READ, 0.24)
    assert admission.sheds("other", Priority.READ, 0.24, is_late=True)
    drain(admission, 0.24)
    assert not admission.sheds("other", Priority.READ, 0.24)
    assert admission.sheds("other", Priority.READ, 0.24, is_late=True)
    assert not admission.sheds("quiet", Priority.READ, 0.24, is_late=True)
    assert not admission.sheds("other", Priority.OUTCOME, 0.24, is_late=True)
    assert not admission.sheds("other", Priority.READ, 60.0, is_late=True)


def test_outcomes_of_a_wallet_wait_beside_a_flood_of_claims() -> None:
    """A burst of them is never refused, although the same caller's claims are, and they start first."""
    admission = overloaded(burst=20)
    offered(admission, 100, 0.23)
    outcomes = [Waiting(f"outcome {number}") for number in range(15)]
    gone = [each for one in outcomes for each in admission.offer(one, "a", Priority.OUTCOME, 0.23)[1]]
    started: list[Waiting] = []
    for _ in range(60):
        starts, refused = admission.turn(0.23)
        started, gone = started + starts, gone + refused
        gone += admission.offer(Waiting(), "a", Priority.MONEY, 0.23)[1]
        for _ in starts:
            admission.abandoned(0.23)
    assert set(gone).isdisjoint(outcomes)
    assert outcomes == started[: len(outcomes)]


def test_an_outcome_takes_the_place_of_a_modest_caller() -> None:
    """Where only such callers wait, and no more than a burst may."""
    admission = overloaded(burst=8)
    for _ in range(100):
        offered(admission, 3, 0.23, "loud")
        admission.turn(0.23)
    offered(admission, 30, 0.23, "quiet")
    queued = admission.queued
    outcomes = [Waiting(f"outcome {number}") for number in range(6)]
    gone = [each for one in outcomes for each in admission.offer(one, "quiet", Priority.OUTCOME, 0.23)[1]]
    assert set(gone).isdisjoint(outcomes)
    assert 5 <= len(gone) <= 6  # the first may still fit
    assert admission.queued <= queued + 1


def test_an_outcome_waits_for_those_at_work_until_its_deadline() -> None:
    """Where others that wait as long are refused."""
    admission = overloaded(max_wait_s=1.0, first_limit=9, min_limit=9)
    admission.turn(0.3)
    offered(admission, 1, 0.3)
    for priority in (Priority.MONEY, Priority.OUTCOME):
        admission.offer(Waiting(priority.name, deadline_at=0.4), "a", priority, 0.3)
    assert ["MONEY"] == [one.name for one in admission.expire(0.309)]
    assert ["OUTCOME"] == [one.name for one in admission.expire(0.4)]
