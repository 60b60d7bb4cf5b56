"""Plots: the path they draw, what a screen reader is told, and names that stay text."""

from __future__ import annotations

import re

import pytest

from gateway.console.plots import HEIGHT, WIDTH, line_plot


def points(values: list[float | None]) -> list[tuple[str, float, float]]:
    path = re.search(r'<path d="([^"]*)"', line_plot(values, "calls"))
    assert path is not None
    return [(kind, float(x), float(y)) for kind, x, y in re.findall(r"([ML])([\d.]+) ([\d.]+)", path[1])]


def test_a_line_from_the_left_to_the_right_edge_the_highest_at_the_top() -> None:
    assert points([0, 5, 10]) == [("M", 0, HEIGHT - 2), ("L", WIDTH / 2, HEIGHT / 2), ("L", WIDTH, 2)]


def test_what_is_unknown_is_a_gap() -> None:
    """Not a zero: a replica that was not there had no queue that was empty."""
    assert [kind for kind, _, _ in points([1, None, 1, 1])] == ["M", "M", "L"]


@pytest.mark.parametrize(
    ("values", "title"),
    [
        ([1, 4, 2.5], "calls: last 2.5, highest 4"),
        ([None, 3, None], "calls: last 3, highest 3"),
        ([None], "calls: no data"),
        ([], "calls: no data"),
    ],
)
def test_the_title_says_what_is_seen(values: list[float | None], title: str) -> None:
    assert f"<title>{title}</title>" in line_plot(values, "calls")


def test_a_name_stays_text() -> None:
    assert "<b>" not in line_plot([1], "<b>x</b>", '"><b>')
