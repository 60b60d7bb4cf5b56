"""What a caller writes into ids and metadata never becomes a header, a path or a log line."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from gateway.interceptors.policy import METHODS
from gateway.v1 import (
    events_pb2,
    events_pb2_grpc,
    keys_pb2,
    leaderboard_admin_pb2,
    leaderboard_admin_pb2_grpc,
    leaderboards_pb2,
    operator_pb2,
    phoenix_pb2,
    tokens_pb2,
    wallet_pb2,
)
from tests.gateway_process import GatewayProcess
from tests.integration.event_calls import event_requests
from tests.sandbox_process import SandboxProcess

EVIL = "a\r\nX-Evil: 1\r\n\r\nGET /evil HTTP/1.1\x00"
GOOD_REQUESTS: dict[str, Message] = {
    "/phoenix.gateway.v1.PhoenixService/Call": phoenix_pb2.CallRequest(
        surface=phoenix_pb2.PHOENIX_SURFACE_QUERY, method="GET", path="/v1/leaderboards"
    ),
    "/phoenix.gateway.v1.LeaderboardService/GetLeaderboard": leaderboards_pb2.GetLeaderboardRequest(
        leaderboard_id="b-evil"
    ),
    "/phoenix.gateway.v1.LeaderboardService/GetUserRank": leaderboards_pb2.GetUserRankRequest(
        leaderboard_id="b-evil", user_id="u"
    ),
}
"""Requests that the gateway accepts; one text of them at a time is turned evil."""
FILES = (
    events_pb2, keys_pb2, leaderboard_admin_pb2, leaderboards_pb2, operator_pb2, phoenix_pb2, tokens_pb2, wallet_pb2,
)  # fmt: skip


def evil_requests() -> Iterator[tuple[str, Message]]:
    """Yield each unary method with every text of its request turned evil, one message a field."""
    for file in FILES:
        for service in file.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                path = f"/{service.full_name}/{method.name}"
                if METHODS[path].timeout_s is None:
                    continue
                request_class = GetMessageClass(method.input_type)
                for field in method.input_type.fields:
                    request = request_class()
                    if spoil(request, field, depth=0):
                        yield path, request
    for path, good in GOOD_REQUESTS.items():
        fields: Any = good.DESCRIPTOR.fields
        for field in fields:
            request = type(good)()
            request.CopyFrom(good)
            if spoil(request, field, depth=0):
                yield path, request
    yield "/phoenix.gateway.v1.EventService/SubmitEvent", event_with_evil_metadata()


def event_with_evil_metadata() -> Message:
    """Return an event whose ids are good: its metadata may hold any text but NUL, and goes to Phoenix."""
    event = events_pb2.Event(leaderboard_id="b-evil", user_id="u", score_delta=1)
    event.metadata.update({EVIL.rstrip("\0"): EVIL.rstrip("\0")})
    return events_pb2.SubmitEventRequest(event=event)


def spoil(message: Any, field: FieldDescriptor, depth: int) -> bool:
    """Replace a field's texts by hostile ones. Return False if it has none."""
    if depth > 3 or (field.message_type is not None and field.message_type.full_name.startswith("google.protobuf.")):
        return False
    held = getattr(message, field.name)
    if field.type == FieldDescriptor.TYPE_STRING:
        if field.is_repeated:
            held.append(EVIL)
        else:
            setattr(message, field.name, EVIL)
        return True
    inside = field.message_type
    if inside is None:
        return False
    if inside.GetOptions().map_entry:
        if inside.fields_by_name["value"].type == FieldDescriptor.TYPE_STRING:
            held[EVIL] = EVIL
        return inside.fields_by_name["key"].type == FieldDescriptor.TYPE_STRING and bool(held)
    inner = held.add() if field.is_repeated else held
    if not field.is_repeated:
        inner.SetInParent()
    spoilt = [spoil(inner, each, depth + 1) for each in inside.fields]  # all of them, not only the first
    return any(spoilt)


def requests_at(sandbox: SandboxProcess) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = sandbox.control("GET", "/requests")["requests"]
    return found


def test_no_text_of_any_request_becomes_a_header_or_a_line(
    gateway: GatewayProcess, channel: grpc.Channel, sandbox: SandboxProcess
) -> None:
    """Line breaks and NUL in ids are refused, or travel as data; nothing of them is a header, a path or a log line."""
    tried = 0
    codes: set[grpc.StatusCode] = set()
    sandbox.control("DELETE", "/requests")
    before = len(gateway.log_text.splitlines())
    for path, request in evil_requests():
        tried += 1
        call: Any = channel.unary_unary(path)
        try:
            call(request.SerializeToString(), timeout=20)
            codes.add(grpc.StatusCode.OK)
        except grpc.RpcError as error:
            codes.add(error.code())
    assert tried > 50
    assert grpc.StatusCode.INVALID_ARGUMENT in codes
    assert not codes & {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN}
    sent = requests_at(sandbox)
    bodies = [base64.b64decode(one["body_base64"]) for one in sent]
    assert any(b"X-Evil" in body for body in bodies)  # else nothing was tried at Phoenix
    for one in sent:
        assert "x-evil" not in {name.lower() for name, _value in one["headers"]}
        assert "x-evil" not in one["path"].lower()
    lines = gateway.log_text.splitlines()[before:]
    assert all(isinstance(json.loads(line), dict) for line in lines)


def test_no_metadata_of_a_caller_goes_to_phoenix(
    gateway: GatewayProcess, channel: grpc.Channel, sandbox: SandboxProcess
) -> None:
    """Neither another tenant's id nor credentials, traces or anything else that a caller sends along."""
    board = f"b-{uuid.uuid4().hex[:8]}"
    admin = leaderboard_admin_pb2_grpc.LeaderboardAdminServiceStub(channel)
    admin.EnsureLeaderboard(leaderboard_admin_pb2.EnsureLeaderboardRequest(leaderboard_id=board), timeout=20)
    metadata = (
        ("x-tenant-id", "other"), ("authorization", "Bearer stolen"), ("x-signature", "forged"), ("cookie", "a=b"),
        ("traceparent", f"00-{'a' * 32}-{'b' * 16}-01"), ("x-api-key", "stolen"), ("host", "evil"),
    )  # fmt: skip
    event = events_pb2.Event(leaderboard_id=board, user_id="u", score_delta=1)
    stub = events_pb2_grpc.EventServiceStub(channel)
    stub.SubmitEvent(events_pb2.SubmitEventRequest(event=event), metadata=metadata, timeout=20)
    (sent,) = event_requests(sandbox)
    reported = json.dumps(sent["headers"]).lower()
    assert [word for word in ("other", "stolen", "forged", "a=b", "traceparent", "evil") if word in reported] == []


@pytest.mark.parametrize("given", ["a b", "x" * 129, 'a"b', "a;b", ""])
def test_an_odd_request_id_is_replaced(gateway: GatewayProcess, channel: grpc.Channel, given: str) -> None:
    """An id that is not valid in a header or a log is replaced by an id of the gateway."""
    call: Any = channel.unary_unary("/phoenix.gateway.v1.KeyService/ListKeys")
    _, ended = call.with_call(b"", metadata=(("x-request-id", given),), timeout=20)
    back = dict(ended.trailing_metadata())["x-request-id"]
    assert (back != given, uuid.UUID(back).version) == (True, 7)
