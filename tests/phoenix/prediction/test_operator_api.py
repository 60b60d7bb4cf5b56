"""The Operator API client: a change is sent once, and looked at where its answer was lost."""

from __future__ import annotations

import json

import pytest

from gateway.core.operator_api import FeeSchedule
from gateway.errors import Effect, GatewayError
from gateway.phoenix.http_types import Answer, AnswerLost, NotSent
from gateway.phoenix.prediction.operator_api import OperatorApiClient
from gateway.phoenix.retry import RetryingSender
from gateway.resilience.deadline import Deadline
from tests.manual_clock import ManualClock
from tests.phoenix.scripted_sender import ScriptedSender, Step

_WANTED = FeeSchedule(shape="flat", taker_coefficient="0.07", maker_rebate_coefficient="0.01")
_OTHER = FeeSchedule(shape="flat", taker_coefficient="0.05", maker_rebate_coefficient="0.01")


def telling(schedule: FeeSchedule | None) -> Answer:
    members = None
    if schedule is not None:
        members = {
            "shape": schedule.shape,
            "taker_coefficient": schedule.taker_coefficient,
            "maker_rebate_coefficient": schedule.maker_rebate_coefficient,
        }
    return Answer(status=200, body=json.dumps({"code": "acme", "fee_schedule": members}).encode())


def client(*steps: Step) -> tuple[OperatorApiClient, ScriptedSender, Deadline]:
    clock, sender = ManualClock(), ScriptedSender(*steps)

    async def pause(seconds: float) -> None:
        clock.advance(seconds)

    retrying = RetryingSender(sender=sender, clock=clock, pause=pause, random=lambda: 0.0)
    made = OperatorApiClient(retrying=retrying, base_url="https://p.example", authorize=lambda method, path, body: {})
    return made, sender, Deadline.after(60, clock)


def methods(sender: ScriptedSender) -> list[str]:
    return [one.method for one in sender.sent]


async def test_a_change_returns_what_phoenix_holds() -> None:
    """One PATCH with only the fee schedule."""
    made, sender, deadline = client(telling(_WANTED))
    assert _WANTED == (await made.set_fee_schedule(_WANTED, deadline)).fee_schedule
    assert ["fee_schedule"] == list(json.loads(sender.sent[0].body))
    assert ["PATCH"] == methods(sender)


@pytest.mark.parametrize("trouble", [AnswerLost("x"), 500, 502, 504])
async def test_a_change_in_doubt_is_looked_for(trouble: Step) -> None:
    """Settings that show it prove it."""
    made, sender, deadline = client(trouble, telling(_WANTED))
    assert _WANTED == (await made.set_fee_schedule(_WANTED, deadline)).fee_schedule
    assert ["PATCH", "GET"] == methods(sender)


@pytest.mark.parametrize("seen", [telling(_OTHER), 404])
async def test_a_change_that_cannot_be_seen_is_an_unknown_outcome(seen: Step) -> None:
    """It may still arrive; it is not sent again."""
    made, sender, deadline = client(AnswerLost("x"), seen)
    with pytest.raises(GatewayError) as error:
        await made.set_fee_schedule(_WANTED, deadline)
    assert ("OUTCOME_UNKNOWN", ["PATCH", "GET"]) == (error.value.reason, methods(sender))


async def test_clearing_in_doubt_is_proved_by_null_alone() -> None:
    """Settings without a schedule prove nothing."""
    made, _, deadline = client(AnswerLost("x"), Answer(status=200, body=b'{"code":"acme"}'))
    with pytest.raises(GatewayError) as error:
        await made.set_fee_schedule(None, deadline)
    assert "OUTCOME_UNKNOWN" == error.value.reason
    made, _, deadline = client(AnswerLost("x"), telling(None))
    assert (await made.set_fee_schedule(None, deadline)).trading_disabled


async def test_a_503_did_nothing_and_may_be_repeated() -> None:
    """No look is needed, and the caller hears when to try again."""
    made, sender, deadline = client(503)
    with pytest.raises(GatewayError) as error:
        await made.set_fee_schedule(_WANTED, deadline)
    assert ("PHOENIX_UNAVAILABLE", True) == (error.value.reason, error.value.retry_after_s is not None)
    assert ["PATCH"] == methods(sender)


async def test_no_connection_is_tried_again() -> None:
    """Nothing had left."""
    made, sender, deadline = client(NotSent("x"), telling(_WANTED))
    await made.set_fee_schedule(_WANTED, deadline)
    assert ["PATCH", "PATCH"] == methods(sender)


async def test_an_accepted_change_without_a_body_is_read_back() -> None:
    """A bare 2xx is as good."""
    made, sender, deadline = client(204, telling(_WANTED))
    assert _WANTED == (await made.set_fee_schedule(_WANTED, deadline)).fee_schedule
    assert ["PATCH", "GET"] == methods(sender)


async def test_a_change_that_phoenix_accepts_and_does_not_show_is_reported() -> None:
    """Phoenix ignores unknown members, so a 200 alone proves nothing."""
    made, _, deadline = client(telling(_OTHER))
    with pytest.raises(GatewayError) as error:
        await made.set_fee_schedule(_WANTED, deadline)
    assert ("OUTCOME_UNKNOWN", Effect.DONE) == (error.value.reason, error.value.effect)


@pytest.mark.parametrize(
    ("steps", "effect"),
    [((500, 503, 503, 503), Effect.MAYBE), ((502, telling(_OTHER)), Effect.MAYBE), ((204, 404), Effect.DONE)],
)
async def test_a_change_that_may_have_happened_is_never_unavailable(steps: tuple[Step, ...], effect: Effect) -> None:
    """Also where only the look at the settings fails."""
    made, _, deadline = client(*steps)
    with pytest.raises(GatewayError) as error:
        await made.set_fee_schedule(_WANTED, deadline)
    assert ("OUTCOME_UNKNOWN", effect) == (error.value.reason, error.value.effect)


async def test_rejected_credentials_are_not_the_callers_fault() -> None:
    """One retry with a new timestamp, then INTERNAL."""
    made, sender, deadline = client(401, 401)
    with pytest.raises(GatewayError) as error:
        await made.settings(deadline)
    assert ("PHOENIX_REJECTED_CREDENTIALS", "INTERNAL", 2) == (error.value.reason, error.value.code, len(sender.sent))


async def test_the_path_of_the_statistics_is_a_setting() -> None:
    """The vendor does not name it."""
    made, sender, deadline = client(Answer(status=200, body=b'{"a":1}'))
    await made.stats(deadline)
    assert "/operator/api/stats" == sender.sent[0].raw_path
