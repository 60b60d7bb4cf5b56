"""What holds for every call, with asyncio or without: timeouts, request ids, event ids, the meaning of a failure. Pure.

The timeouts are those of the published service config (service_config.json), which also chooses the address and checks
its health. Its retries are off here: the client sends a call once, and its errors say whether a repeat is safe.
"""

from __future__ import annotations

import json
import re
import secrets
import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata as distribution
from importlib import resources
from typing import Any, Generic, TypeVar

from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from phoenix_gateway_client import v1
from phoenix_gateway_client.errors import CallFailed, DeadlineExceeded, GatewayError, VersionMismatch
from phoenix_gateway_client.reasons import BY_REASON

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)
Metadata = Sequence[tuple[str, "str | bytes"]]
PUBLISHED: dict[str, Any] = json.loads(resources.files(__package__).joinpath("service_config.json").read_text("utf-8"))
REQUEST_ID = "x-request-id"
UNKNOWN_VERSION = "0"


@dataclass(frozen=True)
class Method(Generic[Request, Response]):
    """One RPC."""

    path: str
    request: type[Request]
    response: type[Response]


def version() -> str:
    """Return the version of this package."""
    try:
        return distribution.version("phoenix-gateway-client")
    except distribution.PackageNotFoundError:
        return UNKNOWN_VERSION


def service_config() -> str:
    """Return the published service config without its retries, as JSON."""
    kept = {name: value for name, value in PUBLISHED.items() if name != "retryThrottling"}
    no_retries = ("retryPolicy", "hedgingPolicy", "timeout")  # the timeout is passed with each call
    kept["methodConfig"] = [
        {name: value for name, value in entry.items() if name not in no_retries} for entry in PUBLISHED["methodConfig"]
    ]
    return json.dumps(kept)


def channel_options() -> list[tuple[str, Any]]:
    """Return the options of every channel."""
    return [
        ("grpc.service_config", service_config()),
        ("grpc.enable_retries", 0),
        ("grpc.keepalive_time_ms", 30_000),  # the gateway allows a ping in 10 s
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.max_reconnect_backoff_ms", 1000),
        ("grpc.enable_http_proxy", 0),
        ("grpc.use_local_subchannel_pool", 1),  # new files lead to a new connection
        ("grpc.primary_user_agent", f"phoenix-gateway-client/{version()}"),
    ]


def default_timeout(path: str) -> float | None:
    """Return the seconds that a call of this method may take; None for a stream."""
    service, _, method = path.strip("/").partition("/")
    for name in ({"service": service, "method": method}, {"service": service}, {}):
        for entry in PUBLISHED["methodConfig"]:
            if name in entry["name"]:
                timeout = entry.get("timeout")
                return None if timeout is None else float(str(timeout).rstrip("s"))
    return None


def with_request_id(metadata: Metadata) -> tuple[list[tuple[str, str | bytes]], str]:
    """Return the metadata with a request id, and this id. An id of the caller is kept."""
    given = next((str(value) for name, value in metadata if name.lower() == REQUEST_ID), "")
    made = given or str(uuid.uuid4())
    return (list(metadata) if given else [*metadata, (REQUEST_ID, made)]), made


def give_event_ids(request: Message) -> None:
    """Give each event of the request an id where it has none, so that a repeat of the request is the same events."""
    if isinstance(request, v1.SubmitEventRequest) and request.HasField("event"):
        _give_ids([request.event])
    elif isinstance(request, (v1.SubmitEventsRequest, v1.StreamEventsRequest)):
        _give_ids(request.events)


def _give_ids(events: Iterable[v1.Event]) -> None:
    for event in events:
        if not event.event_id:
            event.event_id = new_event_id()


def new_event_id() -> str:
    """Return a UUIDv7 (RFC 9562): ids of one moment lie side by side in an index."""
    value = (time.time_ns() // 1_000_000) << 80 | 0x7 << 76 | secrets.randbits(12) << 64
    return str(uuid.UUID(int=value | 0b10 << 62 | secrets.randbits(62)))


def failure(
    code: str, details: str, trailing: Iterable[tuple[str, Any]], *, method: str = "", request_id: str = ""
) -> GatewayError:
    """Return the exception for a call that failed."""
    pairs = dict(trailing)
    status = status_pb2.Status()
    try:
        status = status_pb2.Status.FromString(pairs.get("grpc-status-details-bin", b""))
    except DecodeError:
        pass  # not a gateway's; the status itself is enough
    about: dict[str, Any] = {"method": method, "request_id": str(pairs.get(REQUEST_ID, request_id))}
    known = _from_status(status, code, details, about)
    if known is not None:
        return known
    if code == "UNIMPLEMENTED":
        contract = method.strip("/").rpartition(".")[0]
        return VersionMismatch(
            f"The gateway does not know {method.strip('/')} of the contract {contract}: it is of another major version "
            f"or older than this client ({version()}). Install the client of the gateway's version, or have the "
            "gateway upgraded.",
            code=code,
            **about,
        )
    if code == "DEADLINE_EXCEEDED":
        return DeadlineExceeded(
            "No answer within the timeout. Check the address, then repeat the call with a longer timeout; repeat a "
            "change only under the same id.",
            code=code,
            effect="maybe",
            **about,
        )
    return CallFailed(details or code, code=code, effect="maybe", **about)


def error_of(status: status_pb2.Status) -> GatewayError | None:
    """Return the exception for one item of a batch (`result.error`), to look at or to raise; None if it succeeded."""
    if status.code == 0:
        return None
    names = {3: "INVALID_ARGUMENT", 4: "DEADLINE_EXCEEDED", 5: "NOT_FOUND", 6: "ALREADY_EXISTS", 13: "INTERNAL"}
    names |= {2: "UNKNOWN", 7: "PERMISSION_DENIED", 8: "RESOURCE_EXHAUSTED", 9: "FAILED_PRECONDITION"}
    code = (names | {10: "ABORTED", 14: "UNAVAILABLE"}).get(status.code, str(status.code))
    about: dict[str, Any] = {"method": "", "request_id": ""}
    known = _from_status(status, code, status.message, about)
    return known or CallFailed(status.message, code=code, effect="maybe")


def _from_status(status: status_pb2.Status, code: str, details: str, about: dict[str, Any]) -> CallFailed | None:
    """Return the exception for the reason in the status details; None without one."""
    info, retry, bad = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo(), error_details_pb2.BadRequest()
    found = {type(one): any(packed.Unpack(one) for packed in status.details) for one in (info, retry, bad)}
    if not info.reason:
        return None
    wait = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
    error = BY_REASON.get(info.reason, CallFailed)(
        details,
        code=code,
        effect=info.metadata.get("effect", "maybe"),
        retry_after=wait if found[error_details_pb2.RetryInfo] else None,
        metadata=dict(info.metadata),
        fields=[(one.field, one.description) for one in bad.field_violations],
        **about,
    )
    error.reason = info.reason
    return error


def is_local(target: str) -> bool:
    """Whether the target is on this machine, where a token may travel without TLS."""
    return (
        target.startswith("unix:")
        or re.match(r"^(dns:///?)?(127\.\d+\.\d+\.\d+|localhost|\[::1\]):\d+$", target) is not None
    )
