"""When a request is sent again: every rule with its counterexample."""

from collections.abc import Callable

import pytest

from gateway import errors
from gateway.errors import Effect
from gateway.phoenix.answers import Surface
from gateway.phoenix.http_types import Answer, AnswerGarbled, AnswerLost, NotSent, Request, TimedOut
from gateway.phoenix.retry import Delivered, Idempotency, RetryingSender, RetryPolicy
from gateway.resilience.deadline import Deadline
from gateway.resilience.retry import RetrySettings
from gateway.resilience.retry_budget import RetryBudget
from tests.manual_clock import ManualClock
from tests.phoenix.scripted_sender import ScriptedSender, Step

READ, ONCE_KEPT, EVERY_TIME = tuple(Idempotency)
LIMITED = Answer(status=429, headers={"retry-after": "2"})
BUSY = Answer(status=503, headers={"retry-after": "2"})


class Delivery:
    """One delivery over a script, on a clock that pauses turn."""

    def __init__(self, *steps: Step, idempotency: Idempotency, seconds: float = 10.0, send_takes: float = 0.0) -> None:
        self.clock = ManualClock()
        self.sender = ScriptedSender(*steps)
        self.idempotency = idempotency
        self.deadline = Deadline.after(seconds, self.clock)
        self.pauses: list[float] = []
        self.prepared = 0
        self.send_takes = send_takes

    async def run(self, accepted_statuses: frozenset[int] = frozenset(), *, in_doubt: bool = False) -> Delivered:
        async def pause(seconds: float) -> None:
            self.pauses.append(seconds)
            self.clock.advance(seconds)

        retrying = RetryingSender(
            sender=self.sender,
            clock=self.clock,
            settings=RetryPolicy(retry=RetrySettings(max_tries=3, first_wait_s=0.1, longest_wait_s=1.0)),
            pause=pause,
            random=lambda: 0.5,
        )
        return await retrying.deliver(
            self._prepare,
            idempotency=self.idempotency,
            surface=Surface.INGESTION,
            deadline=self.deadline,
            accepted_statuses=accepted_statuses,
            in_doubt=in_doubt,
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
    ("idempotency", "steps"),
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
async def test_it_is_sent_again_until_it_succeeds(idempotency: Idempotency, steps: list[Step]) -> None:
    """If a retry is safe, the caller does not see a short failure."""
    delivery = Delivery(*steps, idempotency=idempotency)
    delivered = await delivery.run()
    assert (delivered.tries, len(delivery.sender.sent)) == (len(steps), len(steps))


@pytest.mark.parametrize(
    ("idempotency", "steps", "reason"),
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
        (EVERY_TIME, [500], "OUTCOME_UNKNOWN"),
        (EVERY_TIME, [502], "OUTCOME_UNKNOWN"),
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
        (ONCE_KEPT, [500, 500, 500], "OUTCOME_UNKNOWN"),
        (ONCE_KEPT, [500, 503, 503], "OUTCOME_UNKNOWN"),
        (ONCE_KEPT, [500, NotSent("x"), NotSent("x")], "OUTCOME_UNKNOWN"),
        (ONCE_KEPT, [503, 503, 503], "PHOENIX_UNAVAILABLE"),
        (ONCE_KEPT, [500, 413], "PHOENIX_REFUSED_INPUT"),
        (EVERY_TIME, [504], "OUTCOME_UNKNOWN"),
        (EVERY_TIME, [799], "OUTCOME_UNKNOWN"),
        (EVERY_TIME, [302], "PHOENIX_ANSWER_UNREADABLE"),
    ],
)
async def test_it_is_not_sent_again_and_says_what_is_known(
    idempotency: Idempotency, steps: list[Step], reason: str
) -> None:
    """No more sends than steps; a doubt, once there, is never talked away by a later failure."""
    delivery = Delivery(*steps, idempotency=idempotency)
    assert await delivery.reason() == reason
    assert len(delivery.sender.sent) == len(steps)


async def test_each_try_is_signed_again_over_the_same_body() -> None:
    """A fresh timestamp, the same bytes."""
    delivery = Delivery(NotSent("x"), 401, 202, idempotency=EVERY_TIME)
    await delivery.run()
    assert [request.headers["x-timestamp"] for request in delivery.sender.sent] == ["1", "2", "3"]
    assert {request.body for request in delivery.sender.sent} == {b"{}"}


async def test_waits_grow_and_a_rejection_waits_not_at_all() -> None:
    """Half of each bound, because this test fixes the random numbers."""
    delivery = Delivery(401, NotSent("x"), NotSent("x"), idempotency=READ)
    await delivery.reason()
    assert delivery.pauses == [pytest.approx(0.1)]


async def test_retry_after_is_waited_for() -> None:
    """At least as long as Phoenix asks."""
    delivery = Delivery(BUSY, 200, idempotency=READ)
    await delivery.run()
    assert delivery.pauses == [pytest.approx(2.05)]


async def test_a_wait_that_outlasts_the_deadline_is_not_begun() -> None:
    """The caller hears at once what it could only hear later."""
    delivery = Delivery(LIMITED, idempotency=READ, seconds=2.0)
    assert await delivery.reason() == "PHOENIX_RATE_LIMITED"
    assert delivery.pauses == []


async def test_an_expired_deadline_sends_nothing() -> None:
    """Nothing is prepared or signed either."""
    delivery = Delivery(idempotency=READ, seconds=0.0)
    assert await delivery.reason() == "DEADLINE_TOO_SHORT"
    assert delivery.prepared == 0


async def test_a_deduplicated_request_is_not_sent_again_after_phoenix_may_have_forgotten_it() -> None:
    """The window runs from the first sending."""
    delivery = Delivery(lost(), lost(), idempotency=ONCE_KEPT, seconds=1000.0, send_takes=200.0)
    assert await delivery.reason() == "OUTCOME_UNKNOWN"
    assert len(delivery.sender.sent) == 2


@pytest.mark.parametrize(
    ("steps", "in_doubt", "effect"),
    [
        ([BUSY], False, Effect.NONE),
        ([NotSent("x"), NotSent("x"), NotSent("x")], False, Effect.NONE),
        ([422], False, Effect.NONE),
        ([500], False, Effect.MAYBE),
        ([lost()], False, Effect.MAYBE),
        ([BUSY], True, Effect.MAYBE),
        ([422], True, Effect.MAYBE),
        ([400], True, Effect.NONE),
        ([401, 401], True, Effect.MAYBE),
        ([NotSent("x"), NotSent("x"), NotSent("x")], True, Effect.MAYBE),
    ],
)
async def test_the_error_says_whether_phoenix_acted(steps: list[Step], in_doubt: bool, effect: Effect) -> None:
    """This try, or an earlier sending of the same bytes that was in doubt; a retry is recommended only after NONE."""
    with pytest.raises(errors.GatewayError) as caught:
        await Delivery(*steps, idempotency=EVERY_TIME).run(in_doubt=in_doubt)
    assert effect is caught.value.effect
    assert caught.value.retry_after_s is None or effect is Effect.NONE


async def test_a_key_that_is_gone_at_the_second_try_does_not_hide_the_first() -> None:
    """The first try may have acted."""
    delivery = Delivery(lost(), idempotency=ONCE_KEPT)
    prepare = delivery._prepare

    def once() -> Request:
        if delivery.prepared:
            raise errors.KeyUnknown
        return prepare()

    delivery._prepare = once  # type: ignore[method-assign]
    assert await delivery.reason() == "OUTCOME_UNKNOWN"


async def test_an_answer_to_a_resend_says_so() -> None:
    """Whoever reads a 409 has to know that the first sending may have arrived."""
    assert (await Delivery(lost(), 202, idempotency=ONCE_KEPT).run()).in_doubt
    assert not (await Delivery(NotSent("x"), 202, idempotency=ONCE_KEPT).run()).in_doubt


async def test_a_welcome_status_is_an_answer() -> None:
    """The caller of RetryingSender knows what it means."""
    delivered = await Delivery(409, idempotency=EVERY_TIME).run(accepted_statuses=frozenset({409}))
    assert delivered.answer.status == 409


async def test_a_failure_of_signing_is_not_retried() -> None:
    """A failure of the gateway is not reported as Phoenix's."""
    delivery = Delivery(idempotency=READ)

    def no_key() -> Request:
        raise errors.KeyUnknown

    delivery._prepare = no_key  # type: ignore[method-assign]
    assert await delivery.reason() == "KEY_UNKNOWN"


@pytest.mark.parametrize("status", [503, 401])
async def test_an_outage_gets_at_most_a_fifth_more_requests(status: int) -> None:
    """200 reads that all fail send 240 requests, not 600; the last ones fail with the same error, at once."""
    sender = ScriptedSender(*[status] * 600)
    clock = ManualClock()

    async def pause(seconds: float) -> None:
        clock.advance(seconds / 1000)  # many calls wait at the same time

    retrying = RetryingSender(
        sender=sender, clock=clock, pause=pause, budgets={surface: RetryBudget() for surface in Surface}
    )
    request = Delivery(idempotency=READ)
    reasons = set[str]()
    for _ in range(200):
        with pytest.raises(errors.GatewayError) as caught:
            await retrying.deliver(
                request._prepare, idempotency=READ, surface=Surface.QUERY, deadline=Deadline.after(10.0, clock)
            )
        reasons.add(caught.value.reason)
    assert len(sender.sent) == 240
    assert reasons == {"PHOENIX_UNAVAILABLE" if status == 503 else "PHOENIX_REJECTED_CREDENTIALS"}


async def test_a_rotation_costs_no_call_however_many_it_catches() -> None:
    """A call whose key has changed meanwhile is sent again without asking the budget; without a change it is not."""
    steps = [step for _ in range(50) for step in (Answer(status=401, keys_changed=True), Answer(status=200))]
    clock = ManualClock()
    retrying = RetryingSender(
        sender=ScriptedSender(*steps), clock=clock, budgets={surface: RetryBudget() for surface in Surface}
    )
    request = Delivery(idempotency=READ)
    for _ in range(50):
        delivered = await retrying.deliver(
            request._prepare, idempotency=READ, surface=Surface.QUERY, deadline=Deadline.after(10.0, clock)
        )
        assert (200, 2) == (delivered.answer.status, delivered.tries)
