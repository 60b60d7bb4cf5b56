"""The journal beside a file of events: what it knows after any end of a run, and line numbers as ranges."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.cli.events_pace import Pace
from gateway.cli.events_progress import Begun, Counts, Journal, LineSet, ProgressRefused, Terms

TERMS = Terms(tenant_id="", label="", durable=False)
BEGUN = Begun(at=1000.5, gateway="one")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"a\nb\nc\nd\n")
    return path


def opened(source: Path) -> Journal:
    return Journal.open(source.with_name("progress"), source, TERMS)


@settings(deadline=None)  # the machine may be busy
@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 9))))
def test_ranges_hold_what_was_added(added: list[tuple[int, int]]) -> None:
    """In whatever order and overlap."""
    lines, model = LineSet(), set[int]()
    for first, more in added:
        lines.add(first, first + more)
        model.update(range(first, first + more + 1))
    assert model == {number for number in range(80) if number in lines}


def test_lines_that_were_begun_and_never_ended_are_doubts(source: Path) -> None:
    """Those that ended, or certainly had no effect, are none."""
    journal = opened(source)
    journal.begin([1, 2, 3, 4], BEGUN)
    journal.end([1], Counts(accepted=1))
    journal.unsent([3])
    journal.end([4], Counts(failed=Counter({"INVALID_FIELD": 1})))
    journal.close()
    again = opened(source)
    assert {2: BEGUN} == again.doubts
    assert [True, False, False, True] == [number in again.done for number in (1, 2, 3, 4)]
    assert (1, {"INVALID_FIELD": 1}) == (again.counts.accepted, dict(again.counts.failed))
    again.close()


def test_a_record_that_was_being_written_counts_for_nothing(source: Path) -> None:
    """A kill during a write: the incomplete line is removed, and the journal continues after the complete ones."""
    journal = opened(source)
    journal.begin([1], BEGUN)
    journal.close()
    with source.with_name("progress").open("ab") as torn:
        torn.write(b'{"end":[[1,1]],"acc')
    again = opened(source)
    assert {1: BEGUN} == again.doubts
    again.end([1], Counts(accepted=1))
    again.close()
    last = opened(source)
    assert ({}, 1) == (last.doubts, last.counts.accepted)
    last.close()


def test_a_last_line_that_grew_is_a_changed_file(source: Path) -> None:
    """What was sent as one line would be another now."""
    source.write_bytes(b"a\nb")
    opened(source).close()
    source.write_bytes(b"a\nbc\n")
    with pytest.raises(ProgressRefused, match="changed"):
        opened(source)


@pytest.mark.parametrize("content", [b"no json\n", b"[]\n", b'{"form":99}\n', b"{}\n"])
def test_another_file_is_not_taken_for_a_journal(source: Path, content: bytes) -> None:
    """Nor is it overwritten."""
    kept = source.with_name("progress")
    kept.write_bytes(content)
    with pytest.raises(ProgressRefused):
        opened(source)
    assert content == kept.read_bytes()


def test_the_pace_lets_no_more_through_than_its_rate() -> None:
    """One at once, then as time passes, and little more after a pause."""
    now = 0.0
    pace = Pace(10.0, lambda: now)
    passed = 0
    for _ in range(1000):
        if count := pace.available():
            pace.take(count)
            passed += count
        now += 0.01
    assert 100 <= passed <= 102
    now += 3600
    assert 2 == pace.available()
