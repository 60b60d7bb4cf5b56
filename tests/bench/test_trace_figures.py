"""The price of traces: how it follows from the rounds, and when it is not to be believed."""

from collections.abc import Sequence

import pytest

from bench.figures import Figure
from bench.trace_figures import excess, figure

DISTURBED = (1.0, 1.0, 0.7, 1.0, 2.5, 1.0, 1.0)
"""What the rest of the machine makes of a round."""


def priced(*, again: float = 100.0, unsampled: float = 101.0, sampled: float = 160.0) -> Figure:
    """The figure where a call without traces takes 100 µs, from blocks of which each gateway has some disturbed."""
    of_each = (100.0, unsampled, unsampled, again)
    blocks = [[us * DISTURBED[(number + 2 * place) % 7] for place, us in enumerate(of_each)] for number in range(700)]
    return figure("mint", {"blocks": blocks, "sampled": [[100.0, sampled], [100.0, sampled]]})


def test_one_call_in_a_hundred_is_sampled() -> None:
    """All calls pay what one pays that is not sampled; a hundredth of what a span costs comes on top."""
    price = priced()
    assert price.value == pytest.approx(0.99 * 1.0 + 0.01 * 60.0)
    assert not price.faults


@pytest.mark.parametrize("costs", [{"unsampled": 103.5}, {"sampled": 400.0}])
def test_a_price_above_the_bar_is_a_fault(costs: dict[str, float]) -> None:
    """Whatever makes it so."""
    assert list(priced(**costs).faults) == ["above 3 %"]


def test_a_price_that_may_be_above_the_bar_is_a_fault() -> None:
    """Nobody learns from a median of 2 % that may be 5 %."""
    blocks = [[100.0, each, each, 100.0] for each in (98.0, 99.0, 102.0, 105.0, 106.0)]
    (said,) = figure("mint", {"blocks": blocks, "sampled": [[100.0, 100.0]]}).faults
    assert said.startswith("may be above 3 %")


@pytest.mark.parametrize("again", [99.0, 101.0])
def test_gateways_that_should_be_alike_and_are_not_are_a_fault(again: float) -> None:
    """If two without traces differ, so may one with and one without, whatever traces cost."""
    assert list(priced(again=again).faults) == ["two gateways without traces differ by more than 0.5 %"]


@pytest.mark.parametrize(
    ("ratios", "low", "high"), [([1.1], 10.0, 10.0), ([1.0 + number / 100 for number in range(101)], 40.0, 60.0)]
)
def test_the_interval_holds_the_median_nineteen_times_in_twenty(
    ratios: Sequence[float], low: float, high: float
) -> None:
    """By the sign test, which asks nothing of how rounds are disturbed; its tables give ranks 41 and 61 for 101."""
    found = excess(ratios)
    assert found.low == pytest.approx(low)
    assert found.high == pytest.approx(high)
