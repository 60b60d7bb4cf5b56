"""Who is dead: only one whose beats stand still while the observer sees the database all the time."""

from __future__ import annotations

from gateway.outbox.peer_watch import BLIND_AFTER_S, DEAD_AFTER_S, PeerWatch
from gateway.outbox.record import Replica


def replica(number: int, beats: int) -> Replica:
    return Replica(number=number, name=f"host/{number}", beats=beats)


def looked(watch: PeerWatch, at: float, *found: Replica) -> list[int]:
    """Look, with an answer after 0.1 s. Return the numbers of the dead."""
    return [one.number for one in watch.dead(found, asked_at=at, answered_at=at + 0.1)]


def test_beats_that_stand_still_for_three_seconds_mean_death() -> None:
    """Counted from the answer that showed them first to the question that shows them still."""
    watch = PeerWatch()
    for at in (0.0, 1.0, 2.0, 3.0):
        assert [] == looked(watch, at, replica(1, 5))
    assert [1] == looked(watch, DEAD_AFTER_S + 0.1, replica(1, 5))


def test_a_beat_is_enough_to_live_on() -> None:
    """The three seconds begin again. Another replica is judged by its own beats."""
    watch = PeerWatch()
    for at, beats in ((0.0, 5), (1.5, 5), (2.9, 6), (4.4, 6), (5.9, 6)):
        assert [2] * (at > 4.0) == looked(watch, at, replica(1, beats), replica(2, 7))
    assert [1, 2] == looked(watch, 6.1, replica(1, 6), replica(2, 7))


def test_an_observer_that_saw_nothing_starts_again() -> None:
    """As after an outage of the database, in which nobody could beat, or a pause of the observer itself."""
    watch = PeerWatch()
    assert [] == looked(watch, 0.0, replica(1, 5))
    after = 0.2 + BLIND_AFTER_S + DEAD_AFTER_S
    for at in (after, after + 1.5, after + 3.0):
        assert [] == looked(watch, at, replica(1, 5))
    assert [1] == looked(watch, after + 3.2, replica(1, 5))


def test_a_number_that_is_gone_is_forgotten() -> None:
    """One that comes back is new."""
    watch = PeerWatch()
    for at, found in ((0.0, [replica(1, 5)]), (1.5, []), (3.0, [replica(1, 5)]), (4.5, [replica(1, 5)])):
        assert [] == looked(watch, at, *found)
