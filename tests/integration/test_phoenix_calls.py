"""PhoenixService end to end: which paths are open, and what is passed on, refused and logged."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import grpc
import pytest

from gateway.v1 import phoenix_pb2, phoenix_pb2_grpc, tokens_pb2_grpc
from tests.gateway_process import GatewayProcess, fields_of, reason_of
from tests.integration.awaited_calls import eventually, refused
from tests.integration.opened_gateway import opened, opened_channel, player
from tests.sandbox_process import SandboxProcess

__all__ = ["opened", "opened_channel"]

QUERY, OPERATOR = phoenix_pb2.PHOENIX_SURFACE_QUERY, phoenix_pb2.PHOENIX_SURFACE_OPERATOR
INGESTION = phoenix_pb2.PHOENIX_SURFACE_INGESTION


@pytest.fixture
def phoenix(opened_channel: grpc.Channel) -> phoenix_pb2_grpc.PhoenixServiceStub:
    return phoenix_pb2_grpc.PhoenixServiceStub(opened_channel)


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
    sandbox.control(
        "POST", "/faults", {"surface": "prediction", "path_prefix": "/operator/api/settings", "kind": "cut", "times": 1}
    )
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
