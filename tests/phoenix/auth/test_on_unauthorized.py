"""What the owner of the keys learns about refused credentials, and how long a call waits for it."""

from __future__ import annotations

import asyncio

import pytest

from gateway.phoenix.auth.on_unauthorized import UnauthorizedObserver
from gateway.phoenix.http_types import Request
from gateway.resilience.clock import SystemClock
from gateway.resilience.deadline import Deadline
from tests.phoenix.scripted_sender import ScriptedSender

CLOCK = SystemClock()
REQUEST = Request(method="GET", url_base="https://phoenix.example", raw_path="/health")


class Keys:
    """Records when reviews are asked for; a review takes this long."""

    def __init__(self, takes_s: float = 0.0, *, changed: bool = False) -> None:
        self._changed = changed
        self.asked_for: list[float] = []
        self.finished = 0
        self._takes_s = takes_s

    async def on_unauthorized(self, sent_at: float) -> bool:
        """Take the time."""
        self.asked_for.append(sent_at)
        await asyncio.sleep(self._takes_s)
        self.finished += 1
        return self._changed


async def test_a_401_waits_for_a_review_of_the_keys() -> None:
    """The review knows when the request was sent, and ends before the answer is returned."""
    keys, before = Keys(takes_s=0.01), CLOCK.monotonic()
    answer = await UnauthorizedObserver(ScriptedSender(401), keys, CLOCK).send(REQUEST, Deadline.after(5, CLOCK))
    assert (401, 1) == (answer.status, keys.finished)
    (sent_at,) = keys.asked_for
    assert before <= sent_at <= CLOCK.monotonic()


@pytest.mark.parametrize("status", [200, 400, 403, 404, 429, 500, 503])
async def test_other_answers_ask_for_no_review(status: int) -> None:
    """Only 401 says something about the credentials."""
    keys = Keys()
    answer = await UnauthorizedObserver(ScriptedSender(status), keys, CLOCK).send(REQUEST, Deadline.after(5, CLOCK))
    assert (status, []) == (answer.status, keys.asked_for)


async def test_a_review_takes_no_longer_than_the_call() -> None:
    """The answer comes back at the deadline, whatever the review does."""
    began, keys, deadline = CLOCK.monotonic(), Keys(takes_s=30), Deadline.after(0.05, CLOCK)
    answer = await UnauthorizedObserver(ScriptedSender(401), keys, CLOCK).send(REQUEST, deadline)
    assert (401, 0) == (answer.status, keys.finished)
    assert CLOCK.monotonic() - began < 5


@pytest.mark.parametrize("changed", [True, False])
async def test_the_answer_says_whether_a_key_has_changed(changed: bool) -> None:
    """So that a call that a rotation caught is sent again without asking the budget."""
    sender = UnauthorizedObserver(ScriptedSender(401), Keys(changed=changed), CLOCK)
    assert changed is (await sender.send(REQUEST, Deadline.after(5, CLOCK))).keys_changed
