"""Answers that fit, pages that end earlier, and what does not fit at all."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from gateway.core.answer_size import ERROR_BYTES, MAX_ANSWER_BYTES, MAX_PAGE_BYTES, AnswerBudget, fit_page
from gateway.errors import AnswerTooLarge, Effect
from gateway.services.status import status_of


def joined(items: Sequence[bytes], is_cut: bool) -> bytes:
    return b"".join(items) + (b"next" if is_cut else b"last")


@pytest.mark.parametrize(
    ("sizes", "fitting"),
    [
        ([10] * 5, 5),
        ([1_000_000] * 4, 4),
        ([1_000_000] * 5, 4),
        ([4_000_000, 1_000_000], 1),
        ([100] * 10 + [5_000_000], 10),
    ],
)
def test_a_page_has_as_many_as_fit_or_a_few_fewer(sizes: list[int], fitting: int) -> None:
    """Always the first ones, at least one, and never too large."""
    items = [bytes([place]) * size for place, size in enumerate(sizes)]
    page = fit_page(items, joined)
    count = len(dict.fromkeys(page[:-4]))
    assert (page[:-4], page[-4:]) == (b"".join(items[:count]), b"last" if count == len(items) else b"next")
    assert 1 <= count <= fitting
    assert len(page) <= MAX_PAGE_BYTES


def test_one_item_that_does_not_fit_is_refused() -> None:
    """There is nothing left to cut."""
    with pytest.raises(AnswerTooLarge):
        fit_page([b"x" * MAX_ANSWER_BYTES], joined)


def test_a_batch_stops_asking_once_an_item_did_not_fit() -> None:
    """The answers and the refusals of all others fit together."""
    budget = AnswerBudget(3)
    budget.check()
    budget.take(b"x" * (MAX_ANSWER_BYTES - 3 * ERROR_BYTES))
    budget.check()
    with pytest.raises(AnswerTooLarge):
        budget.take(b"x")
    with pytest.raises(AnswerTooLarge):
        budget.check()


@pytest.mark.parametrize("effect", Effect)
def test_a_refusal_is_as_small_as_a_batch_reckons(effect: Effect) -> None:
    """A hundred of them fit beside what was answered."""
    assert status_of(AnswerTooLarge(effect=effect)).ByteSize() + 8 <= ERROR_BYTES
