"""How far a clock is certainly off, as an answer proves it."""

from __future__ import annotations

import pytest

from gateway.core.clock_skew import certain_skew, judged_skew, skew_of_date

DATE = "Sun, 29 Nov 2026 12:00:00 GMT"
AT = 1_795_953_600.0


@pytest.mark.parametrize(
    ("sent_at", "received_at", "skew"),
    [
        (AT, AT, 0.0),
        (AT + 0.9, AT + 1.2, 0.0),  # Date has whole seconds
        (AT + 101, AT + 101, 100.0),
        (AT - 100, AT - 100, -100.0),
        (AT - 100, AT + 100, 0.0),  # nothing is certain of a slow answer
    ],
)
def test_the_skew_is_what_is_certain(sent_at: float, received_at: float, skew: float) -> None:
    """Ahead is positive; what may be the time on the way does not count."""
    assert skew_of_date({"date": DATE}, sent_at, received_at) == pytest.approx(skew)


def test_the_age_of_a_cached_answer_is_added() -> None:
    """A cache keeps the Date of the answer that it stored."""
    assert skew_of_date({"date": DATE, "age": "300"}, AT + 300, AT + 300) == 0.0


@pytest.mark.parametrize("headers", [{}, {"date": "yesterday"}, {"date": ""}])
def test_without_a_readable_date_there_is_no_skew(headers: dict[str, str]) -> None:
    """Nothing is guessed."""
    assert skew_of_date(headers, AT, AT) is None


def test_a_clock_that_shows_a_moment() -> None:
    """As a database does."""
    assert certain_skew(AT, AT, AT + 70, AT + 71) == 70.0


@pytest.mark.parametrize(
    ("skews", "judged"),
    [([], 0.0), ([70.0], 70.0), ([70.0, 0.0], 0.0), ([-70.0, 0.0], 0.0), ([70.0, 71.0, 0.0], 70.0)],
)
def test_most_clocks_must_agree(skews: list[float], judged: float) -> None:
    """One host of Phoenix with a wrong clock takes no replica out of service."""
    assert judged_skew(skews) == judged
