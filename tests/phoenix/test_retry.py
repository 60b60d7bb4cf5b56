"""When a request is sent again: every rule with its counterexample."""

from collections.abc import Callable

import pytest

from gateway import errors
from gateway.phoenix.answers import Surface
from gateway.phoenix.http_types import Answer, AnswerGarbled, AnswerLost, NotSent, Request, TimedOut
from gateway.phoenix.retry import Delivered, Effect, RetryingSender, RetryPolicy
from gateway.resilience.deadline import Deadline
from gateway.resilience.retry import RetrySettings
from tests.manual_clock import ManualClock
from tests.phoenix.scripted_sender import ScriptedSender, Step

READ, ONCE_KEPT, EVERY_TIME = Effect.NONE, Effect.DEDUPLICATED, Effect.EVERY_TIME
LIMITED = Answer(status=429, headers={"retry-after": "2"})
BUSY = Answer(status=503, headers={"retry-after": "2"})


class Delivery:
    """One delivery over a script, on a clock that pauses turn."""

    def __init__(self, *steps: Step, effect: Effect, seconds: float = 10.0, send_takes: float = 0.0) -> None:
        self.clock = ManualClock()
        self.sender = ScriptedSender(*steps)
        self.effect = effect
        self.deadline = Deadline.after(seconds, self.clock)
        self.pauses: list[float] = []
        self.prepared = 0
        self.send_takes = send_takes

    async def run(self, accepted_statuses: frozenset[int] = frozenset()) -> Delivered:
        async def pause(seconds: float) -> None:
            self.pauses.append(seconds)
            self.clock.advance(seconds)

        courier = RetryingSender(
            sender=self.sender,
            clock=self.clock,
            settings=RetryPolicy(retry=RetrySettings(max_tries=3, first_wait_s=0.1, longest_wait_s=1.0)),
            pause=pause,
            chance=lambda: 0.5,
        )
        return await courier.deliver(
            self._prepare,
            effect=self.effect,
            surface=Surface.INGESTION,
            deadline=self.deadline,
            accepted_statuses=accepted_statuses,
        )

    def _prepare(self) -> Request:
        self.prepared += 1
        self.clock.advance(self.send_takes)
        return Request(
            method="POST",
            url_base="https://phoenix.example",
            raw_path="/v1/events",
            headers={"x-timestamp": str(self.prepared)},
            body=b"{}",
        )

    async def reason(self) -> str:
        """The reason that it ends with."""
        with pytest.raises(errors.GatewayError) as caught:
            await self.run()
        return caught.value.reason


lost: Callable[[], AnswerLost] = lambda: AnswerLost("x")  # noqa: E731  # a fresh exception for each case


@pytest.mark.parametrize(
    ("effect", "steps"),
    [
        (READ, [NotSent("x"), 200]),
        (READ, [lost(), 200]),
        (READ, [500, 502, 200]),
        (READ, [504, lost(), 200]),
        (READ, [LIMITED, 200]),
        (READ, [BUSY, 200]),
        (READ, [401, 200]),
        (READ, [500, 500, 401, 200]),
        (ONCE_KEPT, [NotSent("x"), 202]),
        (ONCE_KEPT, [lost(), 202]),
        (ONCE_KEPT, [AnswerGarbled("x"), lost(), 202]),
        (ONCE_KEPT, [500, 503, 202]),
        (ONCE_KEPT, [401, 202]),
        (EVERY_TIME, [NotSent("x"), NotSent("x"), 202]),
        (EVERY_TIME, [401, 202]),
        (EVERY_TIME, [401, NotSent("x"), 202]),
    ],
)
async def test_it_is_sent_again_until_it_succeeds(effect: Effect, steps: list[Step]) -> None:
    """Where trying again is safe, a passing trouble is not the caller's."""
    delivery = Delivery(*steps, effect=effect)
    delivered = await delivery.run()
    assert (delivered.tries, len(delivery.sender.sent)) == (len(steps), len(steps))


@pytest.mark.parametrize(
    ("effect", "steps", "reason"),
    [
        (READ, [400], "PHOENIX_REFUSED_INPUT"),
        (READ, [404], "PHOENIX_NOT_FOUND"),
        (READ, [429], "PHOENIX_RATE_LIMITED"),
        (READ, [302], "PHOENIX_ANSWER_UNREADABLE"),
        (READ, [AnswerGarbled("x")], "PHOENIX_ANSWER_UNREADABLE"),
        (READ, [TimedOut("x", sent=True)], "PHOENIX_TIMEOUT"),
        (READ, [401, 401], "PHOENIX_REJECTED_CREDENTIALS"),
        (READ, [500, 500, 500], "PHOENIX_UNAVAILABLE"),
        (READ, [lost(), lost(), lost()], "PHOENIX_UNAVAILABLE"),
        (READ, [NotSent("x"), NotSent("x"), NotSent("x")], "PHOENIX_UNAVAILABLE"),
        (EVERY_TIME, [lost()], "OUTCOME_UNKNOWN"),
        (EVERY_TIME, [AnswerGarbled("x")], "OUTCOME_UNKNOWN"),
        (EVERY_TIME, [TimedOut("x", sent=True)], "OUTCOME_UNKNOWN"),
        (EVERY_TIME, [TimedOut("x", sent=False)], "PHOENIX_TIMEOUT"),
        (EVERY_TIME, [500], "PHOENIX_UNAVAILABLE"),
        (EVERY_TIME, [502], "PHOENIX_UNAVAILABLE"),
        (EVERY_TIME, [BUSY], "PHOENIX_UNAVAILABLE"),
        (EVERY_TIME, [LIMITED], "PHOENIX_RATE_LIMITED"),
        (EVERY_TIME, [409], "PHOENIX_CONFLICT"),
        (EVERY_TIME, [401, lost()], "OUTCOME_UNKNOWN"),
        (EVERY_TIME, [NotSent("x"), lost()], "OUTCOME_UNKNOWN"),
        (EVERY_TIME, [NotSent("x"), NotSent("x"), NotSent("x")], "PHOENIX_UNAVAILABLE"),
        (ONCE_KEPT, [LIMITED], "PHOENIX_RATE_LIMITED"),
        (ONCE_KEPT, [lost(), lost(), lost()], "OUTCOME_UNKNOWN"),
        (ONCE_KEPT, [lost(), NotSent("x"), NotSent("x")], "OUTCOME_UNKNOWN"),
        (ONCE_KEPT, [lost(), TimedOut("x", sent=False)], "OUTCOME_UNKNOWN"),
        (ONCE_KEPT, [lost(), 401, 401], "OUTCOME_UNKNOWN"),
        (ONCE_KEPT, [lost(), 422], "OUTCOME_UNKNOWN"),
        (ONCE_KEPT, [lost(), 400], "PHOENIX_REFUSED_INPUT"),
        (ONCE_KEPT, [500, 500, 500], "PHOENIX_UNAVAILABLE"),
    ],
)
async def test_it_is_not_sent_again_and_says_what_is_known(effect: Effect, steps: list[Step], reason: str) -> None:
    """No more sends than steps; a doubt, once there, is never talked away by a later failure."""
    delivery = Delivery(*steps, effect=effect)
    assert await delivery.reason() == reason
    assert len(delivery.sender.sent) == len(steps)


async def test_each_try_is_signed_anew_over_the_same_body() -> None:
    """A fresh timestamp, the same bytes."""
    delivery = Delivery(NotSent("x"), 401, 202, effect=EVERY_TIME)
    await delivery.run()
    assert [request.headers["x-timestamp"] for request in delivery.sender.sent] == ["1", "2", "3"]
    assert {request.body for request in delivery.sender.sent} == {b"{}"}


async def test_waits_grow_and_a_rejection_waits_not_at_all() -> None:
    """Half of each bound, as the chance of this test says."""
    delivery = Delivery(401, NotSent("x"), NotSent("x"), effect=READ)
    await delivery.reason()
    assert delivery.pauses == [pytest.approx(0.1)]


async def test_retry_after_is_waited_for() -> None:
    """At least as long as Phoenix asks."""
    delivery = Delivery(BUSY, 200, effect=READ)
    await delivery.run()
    assert delivery.pauses == [pytest.approx(2.05)]


async def test_a_wait_that_outlasts_the_deadline_is_not_begun() -> None:
    """The caller hears at once what it could only hear later."""
    delivery = Delivery(LIMITED, effect=READ, seconds=2.0)
    assert await delivery.reason() == "PHOENIX_RATE_LIMITED"
    assert delivery.pauses == []


async def test_an_expired_deadline_sends_nothing() -> None:
    """Nothing is prepared or signed either."""
    delivery = Delivery(effect=READ, seconds=0.0)
    assert await delivery.reason() == "DEADLINE_TOO_SHORT"
    assert delivery.prepared == 0


async def test_a_deduplicated_request_is_not_sent_again_after_phoenix_may_have_forgotten_it() -> None:
    """The window runs from the first sending."""
    delivery = Delivery(lost(), lost(), effect=ONCE_KEPT, seconds=1000.0, send_takes=200.0)
    assert await delivery.reason() == "OUTCOME_UNKNOWN"
    assert len(delivery.sender.sent) == 2


async def test_a_5xx_on_what_acts_every_time_does_not_invite_a_repetition() -> None:
    """Only a 503 says that nothing was done; the others carry no RetryInfo."""
    found = {}
    for status in (500, 502, 503, 504):
        with pytest.raises(errors.PhoenixUnavailable) as caught:
            await Delivery(status, effect=EVERY_TIME).run()
        found[status] = caught.value.retry_after_s
    assert found == {500: None, 502: None, 503: 1.0, 504: None}


async def test_a_welcome_status_is_an_answer() -> None:
    """The caller of the courier knows what it means."""
    delivered = await Delivery(409, effect=EVERY_TIME).run(accepted_statuses=frozenset({409}))
    assert delivered.answer.status == 409


async def test_a_failure_of_signing_is_not_retried() -> None:
    """Our own trouble is not Phoenix's."""
    delivery = Delivery(effect=READ)

    def no_key() -> Request:
        raise errors.KeyUnknown

    delivery._prepare = no_key  # type: ignore[method-assign]
    assert await delivery.reason() == "KEY_UNKNOWN"
