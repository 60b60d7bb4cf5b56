"""What works is not given up for a passing failure, and not believed at the first success after a lasting one."""

from __future__ import annotations

from gateway.resilience.steadiness import Steadiness


def changes(*looks: tuple[float, bool]) -> list[tuple[float, bool]]:
    """The looks that changed the opinion, each a time and whether it worked."""
    state = Steadiness()
    return [(at, works) for at, works in looks if state.saw(at, works=works)]


def test_the_first_look_decides() -> None:
    """Before it there is no opinion."""
    assert Steadiness().works is None
    assert changes((0, False)) == [(0, False)]
    assert changes((0, True)) == [(0, True)]


def test_a_failure_that_is_over_soon_changes_nothing() -> None:
    """One refused look between others, as often as it likes."""
    assert changes((0, True), (2, False), (2.5, True), (4, False), (4.5, True)) == [(0, True)]


def test_a_lasting_failure_and_a_lasting_success_count() -> None:
    """Each after a second in which all looks agreed."""
    looks = ((0, True), (2, False), (2.5, False), (3.0, False), (5, True), (5.5, True), (6, True))
    assert changes(*looks) == [(0, True), (3.0, False), (6, True)]


def test_what_fails_again_soon_has_to_work_for_longer() -> None:
    """So a fault that comes and goes does not make a replica come and go at its pace."""
    looks: list[tuple[float, bool]] = [(0, True), (1, False), (2, False), (3, True), (4, True), (5, False), (6, False)]
    looks += [(7, True), (8, True), (9, True), (9.5, True)]
    assert changes(*looks) == [(0, True), (2, False), (4, True), (6, False), (9.5, True)]


def test_every_fault_is_over_within_five_seconds_of_its_end() -> None:
    """At the pace of looks after a failure, also for one that came again."""
    state = Steadiness()
    for at in (0.0, 1.0, 2.0, 3.0, 4.0):
        state.saw(at, works=at in (0.0, 3.0, 4.0))
    state.saw(5.0, works=False)
    state.saw(6.0, works=False)
    taken = next(step * 0.5 for step in range(1, 20) if state.saw(6.0 + step * 0.5, works=True))
    assert taken <= 5.0
