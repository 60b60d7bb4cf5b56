"""Which version of a secret is in use: by the order of names, at its time, unless Phoenix refuses it."""

from __future__ import annotations

from gateway.core.key_trial import TrialResult
from gateway.keys.descriptions import KeyState
from gateway.keys.own.trials import RETRY_DUE_S, UNTRIED_AFTER_S
from gateway.keys.own.versions import REJECTED, RETIRED, TAKEN_OVER, RotationPolicy, Version, Versions

POLICY = RotationPolicy(lead_s=10.0, retire_s=100.0)
TRIED = RotationPolicy(retire_s=100.0, tried=True)


def version(name: str, activates_at: float) -> Version[str]:
    """A version whose name orders it by its time."""
    return Version(
        name=name,
        order=activates_at,
        value=f"value of {name}",
        digest=name.encode(),
        key_id=None,
        announced_at=activates_at,
        activates_at=activates_at,
    )


def states(versions: Versions[str], now: float) -> dict[str, KeyState]:
    return {one.name: versions.state(one, now) for one in versions.all()}


def test_a_life_goes_from_announced_to_retired() -> None:
    """Announced until its time, active, retiring for the time given, retired; then its value is gone."""
    first, second = version("first", 1000.0), version("second", 2000.0)
    versions = Versions(POLICY, [first], 1500.0)
    versions.add(second)
    assert [] == versions.settle(1999.0)
    assert {"first": KeyState.ACTIVE, "second": KeyState.ANNOUNCED} == states(versions, 1999.0)
    assert [TAKEN_OVER] == versions.settle(2001.0)
    assert {"first": KeyState.RETIRING, "second": KeyState.ACTIVE} == states(versions, 2001.0)
    assert [second, first] == versions.live(2001.0)
    assert [RETIRED] == versions.settle(2101.0)
    assert {"first": KeyState.RETIRED, "second": KeyState.ACTIVE} == states(versions, 2101.0)
    assert (None, "value of second") == (first.value, versions.active.value)


def test_a_start_continues_the_current_state() -> None:
    """Of three found at the start: one long over, one just replaced, one in use."""
    found = [version("now", 1900.0), version("old", 1000.0), version("before", 1500.0)]
    versions = Versions(POLICY, found, 1950.0)
    assert {"old": KeyState.RETIRED, "before": KeyState.RETIRING, "now": KeyState.ACTIVE} == states(versions, 1950.0)
    assert [None, "value of before", "value of now"] == [one.value for one in versions.all()]


def test_with_nothing_due_the_oldest_is_used() -> None:
    """A first key cannot wait for its lead: nothing could be signed."""
    versions = Versions(POLICY, [version("b", 2000.0), version("a", 1500.0)], 1000.0)
    assert {"a": KeyState.ACTIVE, "b": KeyState.ANNOUNCED} == states(versions, 1000.0)


def test_an_older_name_never_takes_over() -> None:
    """A file put there later with an earlier time in its name is shown as retired and never used."""
    versions = Versions(POLICY, [version("now", 1900.0)], 1950.0)
    versions.add(version("late", 1800.0))
    assert [RETIRED] == versions.settle(1960.0)
    assert {"late": KeyState.RETIRED, "now": KeyState.ACTIVE} == states(versions, 1960.0)


def test_of_several_due_the_newest_takes_over() -> None:
    """What was skipped is retired without having been used."""
    versions = Versions(POLICY, [version("a", 1000.0)], 1000.0)
    versions.add(version("b", 1100.0))
    versions.add(version("c", 1200.0))
    versions.settle(1300.0)
    assert {"a": KeyState.RETIRING, "b": KeyState.RETIRED, "c": KeyState.ACTIVE} == states(versions, 1300.0)


def test_a_tried_version_waits_for_its_trial() -> None:
    """Its time has come, and it takes over when Phoenix has taken it; a refused one does not, and is tried again."""
    old, new = version("old", 1000.0), version("new", 2000.0)
    versions = Versions(TRIED, [old], 1500.0)
    versions.add(new)
    assert [] == versions.settle(2001.0)
    assert [(new, old)] == versions.to_try(2001.0)
    assert [REJECTED] == versions.record_trial(new, TrialResult.REFUSED, 2001.0)
    assert [] == versions.settle(2001.0 + UNTRIED_AFTER_S * 2)
    assert [] == versions.to_try(2001.0 + RETRY_DUE_S / 2)
    assert [(new, old)] == versions.to_try(2001.0 + RETRY_DUE_S)
    assert [] == versions.record_trial(new, TrialResult.REFUSED, 2004.0)  # reported once
    versions.record_trial(new, TrialResult.ACCEPTED, 2010.0)
    assert [TAKEN_OVER] == versions.settle(2010.0)
    assert [] == versions.to_try(9999.0)


def test_a_version_that_was_tried_early_is_tried_when_its_time_comes() -> None:
    """Phoenix's earlier answer, for the note, does not block a call."""
    versions = Versions(TRIED, [version("old", 1000.0)], 1500.0)
    new = version("new", 2000.0)
    versions.add(new)
    versions.record_trial(new, TrialResult.REFUSED, 1999.0)
    assert [] == versions.to_try(1999.5)
    assert [(new, versions.active)] == versions.to_try(2000.0)


def test_where_nothing_can_be_tried_the_time_decides() -> None:
    """Phoenix takes neither by that route; or it gives no answer, for a minute."""
    for result, wait_s in ((TrialResult.UNPROVEN, 0.0), (TrialResult.UNANSWERED, UNTRIED_AFTER_S)):
        versions = Versions(TRIED, [version("old", 1000.0)], 1500.0)
        new = version("new", 2000.0)
        versions.add(new)
        versions.record_trial(new, result, 2000.0)
        assert wait_s == 0 or [] == versions.settle(2000.0 + wait_s - 1)
        assert [TAKEN_OVER] == versions.settle(2000.0 + wait_s)


def test_a_start_with_a_key_that_phoenix_refuses_goes_back() -> None:
    """A process that was killed in between begins with the newest, asks, and returns to the one before."""
    old, new = version("old", 1000.0), version("new", 1990.0)
    versions = Versions(TRIED, [old, new], 2000.0)
    assert [(new, old)] == versions.to_try(2000.0)
    assert [REJECTED] == versions.record_trial(new, TrialResult.REFUSED, 2000.0)
    assert {"old": KeyState.ACTIVE, "new": KeyState.ANNOUNCED} == states(versions, 2000.0)
    assert [] == versions.settle(2100.0)


def test_in_doubt_a_version_may_take_over_a_little_early() -> None:
    """Phoenix rejected the one in use and takes the next, whose time is near; one with a lead keeps its time."""
    for policy, taken_over in ((TRIED, True), (RotationPolicy(lead_s=10.0, retire_s=100.0, tried=True), False)):
        old, new = version("old", 1000.0), version("new", 2000.0)
        versions = Versions(policy, [old], 1500.0)
        versions.add(new)
        assert [] == versions.to_try(1900.0, after_rejection=True)
        assert ([(new, old)] if taken_over else []) == versions.to_try(1990.0, after_rejection=True)
        versions.record_trial(new, TrialResult.ACCEPTED, 1990.0, after_rejection=True)
        assert ([TAKEN_OVER] if taken_over else []) == versions.settle(1990.0)


def test_in_doubt_the_one_before_is_used_again_if_phoenix_takes_it() -> None:
    """A version that was accepted, and is not any more."""
    old, new = version("old", 1000.0), version("new", 1990.0)
    versions = Versions(TRIED, [old, new], 2000.0)
    versions.record_trial(new, TrialResult.ACCEPTED, 2000.0)
    assert [] == versions.to_try(2050.0)
    assert [(new, old)] == versions.to_try(2050.0, after_rejection=True)
    versions.record_trial(new, TrialResult.REFUSED, 2050.0, after_rejection=True)
    assert old is versions.active


def test_a_single_established_version_is_never_tried() -> None:
    """There is nothing that could be used in its place."""
    assert [] == Versions(TRIED, [version("only", 1000.0)], 2000.0).to_try(2000.0)
    assert [] == Versions(TRIED, [version("a", 1000.0), version("b", 1200.0)], 2000.0).to_try(2000.0)
