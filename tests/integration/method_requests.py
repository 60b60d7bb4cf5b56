"""A request for every served method, valid except for tenant and operator, and how each method returns its result.

Add the request of a new method here: the tests that call every method fail without it.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import grpc
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from gateway.v1 import (
    common_pb2,
    events_pb2,
    keys_pb2,
    leaderboard_admin_pb2,
    leaderboards_pb2,
    operator_pb2,
    phoenix_pb2,
    tokens_pb2,
    wallet_pb2,
)
from tests.gateway_process import reason_of

ENVIRONMENTS = {
    "sandbox": common_pb2.PHOENIX_ENVIRONMENT_SANDBOX,
    "prod": common_pb2.PHOENIX_ENVIRONMENT_PROD,
    "": common_pb2.PHOENIX_ENVIRONMENT_UNSPECIFIED,
}
_V1 = "phoenix.gateway.v1."
_BOARD, _USER = "policy-board", "ada"
_THEN = Timestamp(seconds=1_700_000_000)
_VISITOR = tokens_pb2.MintLaunchJWTRequest(visitor=tokens_pb2.VisitorSession())


def _event() -> events_pb2.Event:
    return events_pb2.Event(leaderboard_id=_BOARD, user_id=_USER, score_delta=1.0)


def _call(tenant: str) -> phoenix_pb2.CallRequest:
    """In PhoenixService, the surface decides between tenant and operator."""
    if tenant:
        return phoenix_pb2.CallRequest(surface=phoenix_pb2.PHOENIX_SURFACE_QUERY, method="GET", path="/health")
    operator = phoenix_pb2.PHOENIX_SURFACE_OPERATOR
    return phoenix_pb2.CallRequest(surface=operator, method="GET", path="/operator/api/settings")


PATHS_OPEN = ("QUERY GET /health", "OPERATOR GET /operator/api/settings")
"""What PhoenixService has to open for the requests here."""

_MADE: dict[str, Callable[[str], Message]] = {
    "EventService/SubmitEvent": lambda _: events_pb2.SubmitEventRequest(event=_event()),
    "EventService/SubmitEvents": lambda _: events_pb2.SubmitEventsRequest(events=[_event()]),
    "EventService/StreamEvents": lambda _: events_pb2.StreamEventsRequest(events=[_event()], sequence=1),
    "EventService/ListDeadLetters": lambda _: events_pb2.ListDeadLettersRequest(),
    "EventService/RedriveDeadLetters": lambda _: events_pb2.RedriveDeadLettersRequest(),
    "LeaderboardService/GetLeaderboard": lambda _: leaderboards_pb2.GetLeaderboardRequest(leaderboard_id=_BOARD),
    "LeaderboardService/GetUserRank": lambda _: leaderboards_pb2.GetUserRankRequest(
        leaderboard_id=_BOARD, user_id=_USER
    ),
    "LeaderboardService/GetUserScore": lambda _: leaderboards_pb2.GetUserScoreRequest(
        leaderboard_id=_BOARD, user_id=_USER
    ),
    "LeaderboardService/GetUserNeighbors": lambda _: leaderboards_pb2.GetUserNeighborsRequest(
        leaderboard_id=_BOARD, user_id=_USER
    ),
    "LeaderboardService/BatchGetLeaderboards": lambda _: leaderboards_pb2.BatchGetLeaderboardsRequest(
        requests=[leaderboards_pb2.GetLeaderboardRequest(leaderboard_id=_BOARD)]
    ),
    "LeaderboardService/BatchGetUserRanks": lambda _: leaderboards_pb2.BatchGetUserRanksRequest(
        requests=[leaderboards_pb2.GetUserRankRequest(leaderboard_id=_BOARD, user_id=_USER)]
    ),
    "LeaderboardService/ListSnapshots": lambda _: leaderboards_pb2.ListSnapshotsRequest(leaderboard_id=_BOARD),
    "LeaderboardService/GetSnapshot": lambda _: leaderboards_pb2.GetSnapshotRequest(
        leaderboard_id=_BOARD, snapshot_time=_THEN
    ),
    "LeaderboardService/GetUserSnapshot": lambda _: leaderboards_pb2.GetUserSnapshotRequest(
        leaderboard_id=_BOARD, user_id=_USER, snapshot_time=_THEN
    ),
    "LeaderboardService/WatchLeaderboard": lambda _: leaderboards_pb2.WatchLeaderboardRequest(leaderboard_id=_BOARD),
    "LeaderboardAdminService/EnsureLeaderboard": lambda _: leaderboard_admin_pb2.EnsureLeaderboardRequest(
        leaderboard_id=_BOARD
    ),
    "LeaderboardAdminService/CreateLeaderboard": lambda _: leaderboard_admin_pb2.CreateLeaderboardRequest(
        leaderboard_id=f"made-{uuid.uuid4().hex}"
    ),
    "LeaderboardAdminService/ListLeaderboards": lambda _: leaderboard_admin_pb2.ListLeaderboardsRequest(),
    "LeaderboardAdminService/GetLeaderboardDefinition": (
        lambda _: leaderboard_admin_pb2.GetLeaderboardDefinitionRequest(leaderboard_id=_BOARD)
    ),
    "LeaderboardAdminService/CheckAdminHealth": lambda _: leaderboard_admin_pb2.CheckAdminHealthRequest(),
    "TokenService/MintLaunchJWT": lambda _: _VISITOR,
    "TokenService/BatchMintLaunchJWT": lambda _: tokens_pb2.BatchMintLaunchJWTRequest(requests=[_VISITOR]),
    "TokenService/MintTenantJWT": lambda _: tokens_pb2.MintTenantJWTRequest(user_id=_USER),
    "TokenService/MintAdminJWT": lambda _: tokens_pb2.MintAdminJWTRequest(subject=_USER),
    "TokenService/SignLeaderboardSocket": lambda _: tokens_pb2.SignLeaderboardSocketRequest(leaderboard_id=_BOARD),
    "WalletService/VerifyWallet": lambda _: wallet_pb2.VerifyWalletRequest(method="POST", path="/wallet/balance"),
    "WalletService/RecordWalletOutcome": lambda _: wallet_pb2.RecordWalletOutcomeRequest(
        operation_id=str(uuid.uuid4()), attempt=1, response_status=200, response_body=b"{}"
    ),
    "WalletService/GetWalletEvidence": lambda _: wallet_pb2.GetWalletEvidenceRequest(operation_id=str(uuid.uuid4())),
    "WalletService/ListWalletEvidence": lambda _: wallet_pb2.ListWalletEvidenceRequest(),
    "WalletService/ExportWalletEvidence": lambda _: wallet_pb2.ExportWalletEvidenceRequest(),
    "WalletService/ListUnreadableWebhooks": lambda _: wallet_pb2.ListUnreadableWebhooksRequest(),
    "WalletService/SettleUnreadableWebhook": lambda _: wallet_pb2.SettleUnreadableWebhookRequest(
        webhook_id=str(uuid.uuid4()), request_body_sha256="0" * 64, response_status=200, note="n"
    ),
    "OperatorService/GetOperatorSettings": lambda _: operator_pb2.GetOperatorSettingsRequest(),
    "OperatorService/UpdateOperatorSettings": lambda _: operator_pb2.UpdateOperatorSettingsRequest(
        confirm_disable_trading=True
    ),
    "OperatorService/ListCategories": lambda _: operator_pb2.ListCategoriesRequest(),
    "OperatorService/GetOperatorStats": lambda _: operator_pb2.GetOperatorStatsRequest(),
    "PhoenixService/Call": _call,
    "KeyService/ListKeys": lambda _: keys_pb2.ListKeysRequest(),
    "KeyService/GetPublicKey": lambda _: keys_pb2.GetPublicKeyRequest(),
    "KeyService/RefreshPlatformKey": lambda _: keys_pb2.RefreshPlatformKeyRequest(),
    "KeyService/RevokePlatformKey": lambda _: keys_pb2.RevokePlatformKeyRequest(key_id="0" * 64),
}
_STANDARD: dict[str, Callable[[str], Message]] = {
    "grpc.health.v1.Health/Check": lambda _: health_pb2.HealthCheckRequest(),
    "grpc.health.v1.Health/List": lambda _: health_pb2.HealthListRequest(),  # type: ignore[attr-defined]
    "grpc.health.v1.Health/Watch": lambda _: health_pb2.HealthCheckRequest(),
    "grpc.reflection.v1.ServerReflection/ServerReflectionInfo": lambda _: _services(),
    "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": lambda _: _services(),
}
_STREAMS_IN = ("StreamEvents", "ServerReflectionInfo")
_STREAMS_OUT = ("StreamEvents", "ServerReflectionInfo", "WatchLeaderboard", "ExportWalletEvidence", "Watch")


def _services() -> Message:
    return reflection_pb2.ServerReflectionRequest(list_services="")


def request_for(method: str, *, tenant: str = "", operator: str = "", environment: str = "") -> Message:
    """Return a request of `package.Service/Method` that means this tenant or operator environment."""
    if method in _STANDARD:
        return _STANDARD[method](tenant)
    request = _MADE[method.removeprefix(_V1)](tenant)
    filled: Any = type(request)()  # not to change one that is shared
    filled.CopyFrom(request)
    own = [item for name in ("requests",) if hasattr(filled, name) for item in getattr(filled, name)]
    for message in [filled, *own]:
        for name, value in (("tenant_id", tenant), ("operator_code", operator)):
            if value and name in message.DESCRIPTOR.fields_by_name:
                setattr(message, name, value)
        if environment and "environment" in message.DESCRIPTOR.fields_by_name:
            message.environment = ENVIRONMENTS[environment]
    made: Message = filled
    return made


def answer_class(method: str) -> type[Message]:
    """Return the class of a method's answers."""
    from google.protobuf import descriptor_pool

    service, _, name = method.partition("/")
    if service == "grpc.reflection.v1.ServerReflection":  # its messages are the older ones to the byte
        service = "grpc.reflection.v1alpha.ServerReflection"
    found = descriptor_pool.Default().FindServiceByName(service).FindMethodByName(name)
    return GetMessageClass(found.output_type)


def outcome(channel: grpc.Channel, method: str, request: Message, timeout_s: float = 10.0) -> str:
    """Call and return the reason of the error, of the first item in a batch; "OK" without one."""
    name = method.rsplit("/", 1)[-1]
    make = {
        (False, False): channel.unary_unary,
        (False, True): channel.unary_stream,
        (True, False): channel.stream_unary,
        (True, True): channel.stream_stream,
    }[name in _STREAMS_IN, name in _STREAMS_OUT]
    call: Any = make(
        f"/{method}",
        request_serializer=_serialised,
        response_deserializer=answer_class(method).FromString,
    )
    given: Any = iter([request]) if name in _STREAMS_IN else request
    try:
        answer = call(given, timeout=timeout_s)
        if name in _STREAMS_OUT:
            stream, answer = answer, next(answer, None)
            stream.cancel()
    except grpc.RpcError as error:
        return reason_of(error) or error.code().name
    return next((reason for reason in _item_reasons(answer)), "OK")


def _serialised(message: Message) -> bytes:
    return message.SerializeToString()


def _item_reasons(answer: Any) -> Iterator[str]:
    """Yield the reasons of the items of a batch that failed."""
    if answer is None or "results" not in answer.DESCRIPTOR.fields_by_name:
        return
    for item in answer.results:
        status: status_pb2.Status = item.error
        for packed in status.details:
            info = error_details_pb2.ErrorInfo()
            if packed.Unpack(info):
                yield info.reason
