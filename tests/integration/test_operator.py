"""Operator API and batch minting end to end; the sandbox verifies every signature."""

from __future__ import annotations

import re
from typing import Any
from urllib.request import urlopen

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from gateway.v1 import operator_pb2, operator_pb2_grpc, tokens_pb2, tokens_pb2_grpc
from tests.gateway_process import GatewayProcess, fields_of, of_sandbox, reason_of
from tests.integration.awaited_calls import refused
from tests.integration.opened_gateway import opened, opened_channel, player
from tests.sandbox_process import SandboxProcess

__all__ = ["opened", "opened_channel"]

SCHEDULE = operator_pb2.FeeSchedule(shape="flat", taker_coefficient="0.07", maker_rebate_coefficient="0.01")


@pytest.fixture
def operator(channel: grpc.Channel) -> operator_pb2_grpc.OperatorServiceStub:
    return operator_pb2_grpc.OperatorServiceStub(channel)


def test_the_settings_are_read(operator: operator_pb2_grpc.OperatorServiceStub) -> None:
    """Signed over six parts, decimals as text."""
    settings = operator.GetOperatorSettings(operator_pb2.GetOperatorSettingsRequest()).settings
    assert ("acme", ["EUR", "USD", "ETB"], "0.10") == (
        settings.code,
        [one.code for one in settings.currencies],
        settings.currencies[0].min_order_size,
    )


def test_the_fee_schedule_is_set_and_cleared(operator: operator_pb2_grpc.OperatorServiceStub) -> None:
    """Clearing the schedule reports that trading is disabled."""
    update = operator.UpdateOperatorSettings
    changed = update(operator_pb2.UpdateOperatorSettingsRequest(fee_schedule=SCHEDULE)).settings
    read = operator.GetOperatorSettings(operator_pb2.GetOperatorSettingsRequest()).settings
    assert [SCHEDULE, SCHEDULE] == [changed.fee_schedule, read.fee_schedule]
    cleared = update(operator_pb2.UpdateOperatorSettingsRequest(confirm_disable_trading=True)).settings
    assert (False, True) == (cleared.HasField("fee_schedule"), cleared.trading_disabled)


@pytest.mark.parametrize(
    "bad",
    [
        {},
        {"fee_schedule": SCHEDULE, "confirm_disable_trading": True},
        {"fee_schedule": {}},
        {"fee_schedule": {"shape": "flat", "taker_coefficient": "0,07", "maker_rebate_coefficient": "0"}},
        {"fee_schedule": {"shape": "flat", "taker_coefficient": "-1", "maker_rebate_coefficient": "0"}},
        {"fee_schedule": {"shape": "other", "taker_coefficient": "1", "maker_rebate_coefficient": "0"}},
    ],
)
def test_an_unclear_change_never_reaches_phoenix(
    operator: operator_pb2_grpc.OperatorServiceStub, sandbox: SandboxProcess, bad: dict[str, Any]
) -> None:
    """Above all one that would disable trading by an omission."""
    operator.UpdateOperatorSettings(operator_pb2.UpdateOperatorSettingsRequest(fee_schedule=SCHEDULE))
    request = operator_pb2.UpdateOperatorSettingsRequest(**bad)
    assert "INVALID_FIELD" == reason_of(refused(lambda: operator.UpdateOperatorSettings(request)))
    read = operator.GetOperatorSettings(operator_pb2.GetOperatorSettingsRequest()).settings
    assert SCHEDULE == read.fee_schedule


@pytest.mark.parametrize("kind", ["lose_answer", "garbage", "half", "hang"])
def test_a_change_whose_answer_was_lost_is_looked_for(
    operator: operator_pb2_grpc.OperatorServiceStub, sandbox: SandboxProcess, kind: str
) -> None:
    """Phoenix acted: the settings prove it, within the caller's deadline."""
    fault = {"surface": "prediction", "kind": kind, "method": "PATCH", "times": 1, "act": True}
    sandbox.control("POST", "/faults", fault)
    request = operator_pb2.UpdateOperatorSettingsRequest(fee_schedule=SCHEDULE)
    changed = operator.UpdateOperatorSettings(request, timeout=6)
    assert SCHEDULE == changed.settings.fee_schedule


@pytest.mark.parametrize("kind", ["cut", "hang"])
def test_a_change_that_was_cut_off_is_an_unknown_outcome(
    operator: operator_pb2_grpc.OperatorServiceStub, sandbox: SandboxProcess, kind: str
) -> None:
    """Phoenix did not act, but that is not certain; a hanging one leaves time to look."""
    sandbox.control("POST", "/faults", {"surface": "prediction", "kind": kind, "method": "PATCH", "times": 1})
    request = operator_pb2.UpdateOperatorSettingsRequest(fee_schedule=SCHEDULE)
    assert "OUTCOME_UNKNOWN" == reason_of(refused(lambda: operator.UpdateOperatorSettings(request, timeout=6)))


def test_categories_come_in_pages(operator: operator_pb2_grpc.OperatorServiceStub) -> None:
    """The active ones, in Phoenix's order."""
    first = operator.ListCategories(operator_pb2.ListCategoriesRequest(page_size=1))
    rest = operator.ListCategories(operator_pb2.ListCategoriesRequest(page_token=first.next_page_token))
    assert [["sports"], ["politics"]] == [[one.slug for one in page.categories] for page in (first, rest)]
    assert "" == rest.next_page_token
    bad = operator_pb2.ListCategoriesRequest(page_token="x")
    assert ["page_token"] == fields_of(refused(lambda: operator.ListCategories(bad)))


def test_statistics_are_passed_on(operator: operator_pb2_grpc.OperatorServiceStub) -> None:
    """Whatever their members are."""
    answer = operator.GetOperatorStats(operator_pb2.GetOperatorStatsRequest())
    assert ("acme", "0.00") == (answer.stats["operator_code"], answer.stats["volume"])
    assert answer.read_time.seconds > 0


def rejections(gateway: GatewayProcess) -> float:
    """The number of rejected operator signatures, from the metric."""
    with urlopen(f"http://{gateway.admin_address}/metrics") as answer:
        text = answer.read().decode()
    found = re.search(r'^phoenix_gateway_credentials_rejected_total\{surface="prediction"\} (\S+)$', text, re.M)
    return float(found[1]) if found else 0.0


def test_a_rejected_signature_is_an_alert_and_no_callers_fault(
    operator: operator_pb2_grpc.OperatorServiceStub, sandbox: SandboxProcess, gateway: GatewayProcess
) -> None:
    """A Phoenix that wants five parts, while six are signed."""
    sandbox.control("POST", "/settings", {"operator_signature": "five"})
    before = rejections(gateway)
    error = refused(lambda: operator.GetOperatorSettings(operator_pb2.GetOperatorSettingsRequest()))
    assert (grpc.StatusCode.INTERNAL, "PHOENIX_REJECTED_CREDENTIALS") == (error.code(), reason_of(error))
    assert before + 1 == rejections(gateway)


def test_the_older_form_is_signed_where_the_setting_says_so(
    opened_channel: grpc.Channel, sandbox: SandboxProcess
) -> None:
    """A Phoenix of the older generation takes it."""
    sandbox.control("POST", "/settings", {"operator_signature": "five"})
    operator = operator_pb2_grpc.OperatorServiceStub(opened_channel)
    assert "acme" == operator.GetOperatorSettings(operator_pb2.GetOperatorSettingsRequest()).settings.code


def test_a_currency_that_the_operator_lacks_is_refused(tokens: tokens_pb2_grpc.TokenServiceStub) -> None:
    """By the Operator API's settings, where none are configured."""
    assert tokens.MintLaunchJWT(player("EUR")).token
    assert ["player.currency"] == fields_of(refused(lambda: tokens.MintLaunchJWT(player("XTS"))))


def test_configured_currencies_decide_alone(opened_channel: grpc.Channel, sandbox: SandboxProcess) -> None:
    """USD is Phoenix's but not configured, GBP the other way about; aud and typ are left out as configured."""
    tokens = tokens_pb2_grpc.TokenServiceStub(opened_channel)
    token = tokens.MintLaunchJWT(player("GBP")).token
    assert ["player.currency"] == fields_of(refused(lambda: tokens.MintLaunchJWT(player("USD"))))
    claims = sandbox.control("POST", "/tokens/verify", {"token": token, "kind": "launch"})["claims"]
    assert {"iss", "env", "sub", "currency", "iat", "exp"} == set(claims)


def test_tokens_are_minted_while_phoenix_is_down(sandbox: SandboxProcess) -> None:
    """No list was ever had: the form is all that is checked."""
    sandbox.control("POST", "/faults", {"surface": "prediction", "kind": "status", "status": 503})
    with GatewayProcess(of_sandbox(sandbox.urls, sandbox.environ)) as alone, grpc.insecure_channel(alone.address) as to:
        tokens = tokens_pb2_grpc.TokenServiceStub(to)
        assert all(tokens.MintLaunchJWT(player("XTS"), timeout=2).token for _ in range(3))


def test_a_batch_answers_each_in_its_place(tokens: tokens_pb2_grpc.TokenServiceStub, sandbox: SandboxProcess) -> None:
    """Tokens that Phoenix takes beside refusals in the words of a single call."""
    bad = [
        tokens_pb2.MintLaunchJWTRequest(),
        player("euro"),
        player("EUR", player_id=""),
        player("EUR", player_id="a\nb"),
        player("XTS"),
        tokens_pb2.MintLaunchJWTRequest(visitor={}, environment=7),  # type: ignore[arg-type]
        tokens_pb2.MintLaunchJWTRequest(visitor={}, ttl={"seconds": 7200}),  # type: ignore[arg-type]
        tokens_pb2.MintLaunchJWTRequest(visitor={}, ttl={"seconds": 1, "nanos": 5}),  # type: ignore[arg-type]
        tokens_pb2.MintLaunchJWTRequest(visitor={}, ttl={}),  # type: ignore[arg-type]
        tokens_pb2.MintLaunchJWTRequest(visitor={}, operator_code="nobody"),  # type: ignore[arg-type]
        tokens_pb2.MintLaunchJWTRequest(visitor={}, environment=2),  # type: ignore[arg-type]
    ]
    good = [player("EUR"), tokens_pb2.MintLaunchJWTRequest(visitor=tokens_pb2.VisitorSession())]
    results = tokens.BatchMintLaunchJWT(tokens_pb2.BatchMintLaunchJWTRequest(requests=[*bad, *good])).results
    single = [refused(lambda one=one: tokens.MintLaunchJWT(one)) for one in bad]  # type: ignore[misc]
    assert [reason_of(one) for one in single] == [detail(one.error)[0] for one in results[: len(bad)]]
    assert [fields_of(one) for one in single] == [detail(one.error)[1] for one in results[: len(bad)]]
    for one in results[len(bad) :]:
        assert sandbox.control("POST", "/tokens/verify", {"token": one.response.token, "kind": "launch"})["ok"]


def detail(status: status_pb2.Status) -> tuple[str, list[str]]:
    """Return reason and fields of a status inside an answer."""
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for packed in status.details:
        packed.Unpack(info)
        packed.Unpack(bad)
    return info.reason, [violation.field for violation in bad.field_violations]


@pytest.mark.parametrize("count", [0, 101])
def test_a_batch_holds_one_to_a_hundred(tokens: tokens_pb2_grpc.TokenServiceStub, count: int) -> None:
    """More is no batch."""
    request = tokens_pb2.BatchMintLaunchJWTRequest(requests=[player("EUR")] * count)
    assert ["requests"] == fields_of(refused(lambda: tokens.BatchMintLaunchJWT(request)))
