"""Operator API, batch minting and PhoenixService end to end; the sandbox verifies every signature."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.request import urlopen

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from gateway.v1 import operator_pb2, operator_pb2_grpc, phoenix_pb2, phoenix_pb2_grpc, tokens_pb2, tokens_pb2_grpc
from tests.gateway_process import GatewayProcess, fields_of, of_sandbox, reason_of
from tests.sandbox_process import SandboxProcess

SCHEDULE = operator_pb2.FeeSchedule(shape="flat", taker_coefficient="0.07", maker_rebate_coefficient="0.01")
OPEN = (
    "QUERY GET /v1/leaderboards/*/*, GET /operator/api/*, PATCH /operator/api/settings, INGESTION POST /v1/events,"
    "GET /health"
)
QUERY, OPERATOR = phoenix_pb2.PHOENIX_SURFACE_QUERY, phoenix_pb2.PHOENIX_SURFACE_OPERATOR
INGESTION = phoenix_pb2.PHOENIX_SURFACE_INGESTION


@pytest.fixture
def operator(channel: grpc.Channel) -> operator_pb2_grpc.OperatorServiceStub:
    return operator_pb2_grpc.OperatorServiceStub(channel)


@pytest.fixture
def tokens(channel: grpc.Channel) -> tokens_pb2_grpc.TokenServiceStub:
    return tokens_pb2_grpc.TokenServiceStub(channel)


@pytest.fixture(scope="module")
def opened(sandbox_process: SandboxProcess) -> Iterator[GatewayProcess]:
    """A gateway that signs five parts, configures its currencies and opens paths."""
    settings = {
        **of_sandbox(sandbox_process.urls, sandbox_process.environ),
        "PREDICTION_OPERATOR_SIGNATURE": "five",
        "PREDICTION_CURRENCIES": "EUR,GBP",
        "PREDICTION_LAUNCH_AUDIENCE": "none",
        "PREDICTION_LAUNCH_TYP": "false",
        "PHOENIX_PATHS": OPEN,
    }
    with GatewayProcess(settings) as process:
        yield process


@pytest.fixture
def opened_channel(opened: GatewayProcess, sandbox: SandboxProcess) -> Iterator[grpc.Channel]:
    """A channel to it; the sandbox takes either form of the signature."""
    sandbox.control("POST", "/settings", {"operator_signature": "both"})
    with grpc.insecure_channel(opened.address) as channel:
        yield channel


@pytest.fixture
def phoenix(opened_channel: grpc.Channel) -> phoenix_pb2_grpc.PhoenixServiceStub:
    return phoenix_pb2_grpc.PhoenixServiceStub(opened_channel)


def refused(call: Callable[[], Any]) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as error:
        call()
    return error.value


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
    changed = operator.UpdateOperatorSettings(request, timeout=1.5)
    assert SCHEDULE == changed.settings.fee_schedule


@pytest.mark.parametrize("kind", ["cut", "hang"])
def test_a_change_that_was_cut_off_is_an_unknown_outcome(
    operator: operator_pb2_grpc.OperatorServiceStub, sandbox: SandboxProcess, kind: str
) -> None:
    """Phoenix did not act, but that is not certain; a hanging one leaves time to look."""
    sandbox.control("POST", "/faults", {"surface": "prediction", "kind": kind, "method": "PATCH", "times": 1})
    request = operator_pb2.UpdateOperatorSettingsRequest(fee_schedule=SCHEDULE)
    assert "OUTCOME_UNKNOWN" == reason_of(refused(lambda: operator.UpdateOperatorSettings(request, timeout=1.5)))


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


def player(currency: str, player_id: str = "p1") -> tokens_pb2.MintLaunchJWTRequest:
    return tokens_pb2.MintLaunchJWTRequest(player=tokens_pb2.PlayerSession(player_id=player_id, currency=currency))


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


def wanted(surface: phoenix_pb2.PhoenixSurface.ValueType, path: str, method: str = "GET", **more: Any) -> Any:
    return phoenix_pb2.CallRequest(surface=surface, method=method, path=path, **more)


def test_nothing_is_open_by_default(channel: grpc.Channel, sandbox: SandboxProcess) -> None:
    """Not even what every tenant may read; nothing left."""
    phoenix = phoenix_pb2_grpc.PhoenixServiceStub(channel)
    for request in (wanted(QUERY, "/health"), wanted(OPERATOR, "/operator/api/settings")):
        error = refused(lambda request=request: phoenix.Call(request))  # type: ignore[misc]
        assert (grpc.StatusCode.PERMISSION_DENIED, "NOT_ALLOWED") == (error.code(), reason_of(error))


def test_an_open_path_is_signed_and_answered(phoenix: phoenix_pb2_grpc.PhoenixServiceStub) -> None:
    """Status, JSON body and only the headers of the fixed list."""
    answer = phoenix.Call(wanted(OPERATOR, "/operator/api/settings", query={"a": "b c"}))
    assert (200, "acme") == (answer.status, answer.body.struct_value["code"])
    assert set(answer.headers) <= {"age", "content-type", "date", "etag", "retry-after", "x-request-id"}


@pytest.mark.parametrize(
    "auth",
    [phoenix_pb2.PHOENIX_AUTH_UNSPECIFIED, phoenix_pb2.PHOENIX_AUTH_TENANT_HMAC, phoenix_pb2.PHOENIX_AUTH_TENANT_JWT],
)
def test_each_way_to_authenticate_is_taken_by_phoenix(
    phoenix: phoenix_pb2_grpc.PhoenixServiceStub, auth: phoenix_pb2.PhoenixAuth.ValueType
) -> None:
    """An unknown board is a 404, which shows that the credentials are valid."""
    error = refused(lambda: phoenix.Call(wanted(QUERY, "/v1/leaderboards/tenant-test-001/none", auth=auth)))
    assert "PHOENIX_NOT_FOUND" == reason_of(error)


@pytest.mark.parametrize(
    "request_",
    [
        wanted(phoenix_pb2.PHOENIX_SURFACE_ADMIN, "/v1/leaderboards/t/b"),
        wanted(QUERY, "/v1/leaderboards/t/b", method="DELETE"),
        wanted(QUERY, "/v1/leaderboards/t"),
        wanted(QUERY, "/v1/leaderboards/t/b/user"),
        wanted(OPERATOR, "/operator/api/settings", method="PUT", body={"fee_schedule": None}),
        wanted(OPERATOR, "/operator/api/settings", method="PATCH", body={"fee_schedule": None}),
        wanted(OPERATOR, "/operator/api/Settings", method="PATCH"),
        wanted(OPERATOR, "/v1/leaderboards/t/b"),
        wanted(OPERATOR, "/health"),
    ],
)
def test_what_no_pattern_opens_is_not_allowed(
    phoenix: phoenix_pb2_grpc.PhoenixServiceStub, request_: phoenix_pb2.CallRequest
) -> None:
    """Another surface, method or length; and never round the question before trading is disabled."""
    assert "NOT_ALLOWED" == reason_of(refused(lambda: phoenix.Call(request_)))


@pytest.mark.parametrize(
    "path",
    [
        "/v1/leaderboards/t/..",
        "/v1/leaderboards/t/%2e%2e",
        "/v1/leaderboards//b",
        "/v1/leaderboards/t/b?x=1",
        "/v1/leaderboards/t/b#x",
        "/v1/leaderboards/t/a%2Fb",
        "/v1/leaderboards/t/a\\b",
        "http://evil.example/v1",
        "//evil.example/v1",
        "/@evil.example/v1/",
    ],
)
def test_a_confusing_path_is_refused(phoenix: phoenix_pb2_grpc.PhoenixServiceStub, path: str) -> None:
    """As a bad field, whether or not a pattern would fit."""
    assert ["path"] == fields_of(refused(lambda: phoenix.Call(wanted(QUERY, path))))


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"surface": 0}, "surface"),
        ({"method": "HEAD"}, "method"),
        ({"method": ""}, "method"),
        ({"body": {"a": 1}}, "body"),
        ({"idempotency_key": "a b"}, "idempotency_key"),
        ({"idempotency_key": "a\r\nx-evil: 1"}, "idempotency_key"),
        ({"auth": phoenix_pb2.PHOENIX_AUTH_API_KEY}, "auth"),
    ],
)
def test_a_bad_call_names_its_field(
    phoenix: phoenix_pb2_grpc.PhoenixServiceStub, more: dict[str, Any], field: str
) -> None:
    """Before anything is sent."""
    request = phoenix_pb2.CallRequest(
        **{"surface": OPERATOR, "method": "GET", "path": "/operator/api/settings", **more}
    )
    assert [field] == fields_of(refused(lambda: phoenix.Call(request)))


@pytest.mark.parametrize(
    ("kind", "reason"), [("redirect", "PHOENIX_ANSWER_UNREADABLE"), ("lose_answer", "OUTCOME_UNKNOWN")]
)
def test_a_failure_is_reported_and_a_post_is_sent_once(
    phoenix: phoenix_pb2_grpc.PhoenixServiceStub, sandbox: SandboxProcess, kind: str, reason: str
) -> None:
    """No redirect is followed, no POST repeated."""
    fault = sandbox.control("POST", "/faults", {"surface": "ingestion", "kind": kind, "path_prefix": "/v1/events"})
    event = {"event_id": "e1", "leaderboard_id": "b", "user_id": "u", "score_delta": 1}
    request = wanted(INGESTION, "/v1/events", method="POST", body=event, idempotency_key="key-1")
    assert reason == reason_of(refused(lambda: phoenix.Call(request)))
    hits = [one["hits"] for one in sandbox.control("GET", "/faults")["faults"]]
    assert [1] == hits, json.dumps(fault)


def test_a_body_that_is_no_json_is_passed_on_as_it_came(phoenix: phoenix_pb2_grpc.PhoenixServiceStub) -> None:
    """A pattern without a surface holds on all of a tenant's."""
    answer = phoenix.Call(wanted(QUERY, "/health"))
    assert (200, True) == (answer.status, bool(answer.raw_body) is not answer.HasField("body"))


def test_a_get_is_tried_again(phoenix: phoenix_pb2_grpc.PhoenixServiceStub, sandbox: SandboxProcess) -> None:
    """A read has no effect."""
    sandbox.control("POST", "/faults", {"surface": "prediction", "kind": "cut", "times": 1})
    assert 200 == phoenix.Call(wanted(OPERATOR, "/operator/api/settings")).status


def test_the_log_has_pattern_and_digest_but_no_path_or_token(
    phoenix: phoenix_pb2_grpc.PhoenixServiceStub, opened: GatewayProcess, opened_channel: grpc.Channel
) -> None:
    """A path may name a player, and a token is worth a session."""
    refused(lambda: phoenix.Call(wanted(QUERY, "/v1/leaderboards/player-4711/none")))
    answer = tokens_pb2_grpc.TokenServiceStub(opened_channel).MintLaunchJWT(player("EUR"))
    claims = answer.token.split(".")[1]
    digest = hashlib.sha256(claims.encode()).hexdigest()
    eventually(lambda: digest in opened.log_text)
    log = opened.log_text
    assert [True, True] == [one in log for one in ("GET /v1/leaderboards/*/*", digest)]
    assert [False, False, False] == [one in log for one in ("player-4711", claims, answer.token)]


def eventually(look: Callable[[], bool], within_s: float = 5.0) -> None:
    """Wait until it is true, or time is over."""
    until = time.monotonic() + within_s
    while not look() and time.monotonic() < until:
        time.sleep(0.02)
