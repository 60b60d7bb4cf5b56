"""How far our wall clock is from another one, as far as an answer proves it. Source: RFC 9110, Date and Age."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime

MOST_SKEW_S = 60.0
"""Beyond it a replica is not ready. Phoenix refuses signatures that are 300 s off, and tokens not valid yet."""


def skew_of_date(headers: Mapping[str, str], sent_at: float, received_at: float) -> float | None:
    """Return by how many seconds our clock is certainly ahead (negative: behind); None without a readable Date.

    Date has whole seconds, and the other side wrote it at some moment between our sending and our receiving.
    """
    try:
        at = parsedate_to_datetime(headers["date"]).timestamp()
    except (KeyError, ValueError, TypeError, OverflowError):
        return None
    age = headers.get("age", "").strip()
    at += int(age) if age.isascii() and age.isdigit() and len(age) < 8 else 0
    return certain_skew(at, at + 1, sent_at, received_at)


def certain_skew(earliest: float, latest: float, sent_at: float, received_at: float) -> float:
    """Return by how many seconds our clock is certainly ahead of one that showed a time between these two."""
    least, most = sent_at - latest, received_at - earliest
    return least if least > 0 else min(most, 0.0)


def judged_skew(skews: Sequence[float]) -> float:
    """Return the skew that several clocks agree on: their median, of two the smaller one. 0 without any clock."""
    if not skews:
        return 0.0
    lower, upper = statistics.median_low(skews), statistics.median_high(skews)
    return lower if abs(lower) < abs(upper) else upper
