"""How large an answer may be: what a gRPC client accepts unless it is configured otherwise. Pure.

A larger answer reaches no client with defaults; it fails there, with a message that does not say why. So pages end
earlier, with a token for the rest, and what cannot be cut is ANSWER_TOO_LARGE.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from gateway.errors import AnswerTooLarge

MAX_ANSWER_BYTES = 4 * 1024 * 1024
MAX_PAGE_BYTES = MAX_ANSWER_BYTES - 8192
"""The rest is for the page token and the freshness."""
ERROR_BYTES = 512
"""Most bytes of an ANSWER_TOO_LARGE in place of an item of a batch."""

T = TypeVar("T")


def fit_page(items: Sequence[T], encode: Callable[[Sequence[T], bool], bytes]) -> bytes:
    """Return a page of as many of the items as fit, from the first one.

    Args: `encode` serialises a page of these items; its second argument says whether the page was cut, so that it names
    the next one. Raises: AnswerTooLarge if not even one item fits.
    """
    payload, count = encode(items, False), len(items)
    while len(payload) > MAX_PAGE_BYTES:
        if count <= 1:
            raise AnswerTooLarge
        count = max(1, min(count - 1, count * MAX_PAGE_BYTES // len(payload)))
        payload = encode(items[:count], True)
    return payload


class AnswerBudget:
    """The bytes that the items of a batch may still take. Once one item did not fit, the rest is refused unasked."""

    def __init__(self, items: int) -> None:
        self._left = MAX_ANSWER_BYTES - items * ERROR_BYTES
        self._is_spent = False

    def check(self) -> None:
        """Call before an item is fetched. Raises: AnswerTooLarge if it can only be too much."""
        if self._is_spent:
            raise AnswerTooLarge

    def take(self, answer: bytes) -> bytes:
        """Return the answer of an item if it fits. Raises: AnswerTooLarge."""
        if self._is_spent or len(answer) > self._left:
            self._is_spent = True
            raise AnswerTooLarge
        self._left -= len(answer)
        return answer
