"""`phoenix-gateway evidence list --unreadable` and `evidence settle`: signed webhooks that could not be read."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.json_format import MessageToDict

from gateway.cli.connect import open_channel, print_failure
from gateway.cli.evidence_stream import TlsFiles
from gateway.cli.options import WrongOptions
from gateway.core.plain_text import json_page, plain
from gateway.v1 import common_pb2, wallet_pb2, wallet_pb2_grpc

FAILED, WRONG_OPTIONS = 1, 2
_SHOWN_CHARACTERS = 2000
_TIMEOUT_S = 15.0


def list_unreadable(
    operator: str, environment: str | None, target: str, tls: TlsFiles, *, include_settled: bool, as_json: bool
) -> int:
    """Print the webhooks; return the exit code."""
    request = wallet_pb2.ListUnreadableWebhooksRequest(
        operator_code=operator, environment=_environment(environment), include_settled=include_settled
    )
    try:
        with open_channel(target, *tls) as channel:
            found = list(_pages(wallet_pb2_grpc.WalletServiceStub(channel), request))
    except WrongOptions as error:
        print(error, file=sys.stderr)
        return WRONG_OPTIONS
    except grpc.RpcError as error:
        print_failure(target, error)
        return FAILED
    if as_json:
        print(json_page([_members(webhook) for webhook in found]))
        return 0
    for webhook in found:
        _print(webhook)
    waiting = sum(not webhook.HasField("settlement") for webhook in found)
    print(f"{waiting} unreadable webhooks wait for a person" if waiting else "no unreadable webhook waits for a person")
    return 0


def settle(
    request: wallet_pb2.SettleUnreadableWebhookRequest,
    environment: str | None,
    response: Path,
    target: str,
    tls: TlsFiles,
    *,
    as_json: bool,
) -> int:
    """Settle one webhook with the bytes of a file as the answer; return the exit code."""
    try:
        request.response_body = response.read_bytes()
    except OSError as error:
        print(f"--response: cannot be read ({error.strerror}); check the path", file=sys.stderr)
        return WRONG_OPTIONS
    request.environment = _environment(environment)
    try:
        with open_channel(target, *tls) as channel:
            stub = wallet_pb2_grpc.WalletServiceStub(channel)
            answer = stub.SettleUnreadableWebhook(request, timeout=_TIMEOUT_S)
    except WrongOptions as error:
        print(error, file=sys.stderr)
        return WRONG_OPTIONS
    except grpc.RpcError as error:
        print_failure(target, error)
        return FAILED
    if as_json:
        print(json_page(_members(answer.webhook)))
        return 0
    _print(answer.webhook)
    print(f"Phoenix is answered {answer.webhook.settlement.response.status} from now on, on every replica.")
    return 0


def _pages(
    stub: wallet_pb2_grpc.WalletServiceStub, request: wallet_pb2.ListUnreadableWebhooksRequest
) -> Iterator[wallet_pb2.UnreadableWebhook]:
    while True:
        page = stub.ListUnreadableWebhooks(request, timeout=_TIMEOUT_S)
        yield from page.webhooks
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


def _print(webhook: wallet_pb2.UnreadableWebhook) -> None:
    body = webhook.request_body.decode("utf-8", "backslashreplace")
    cut = " (cut; --json has all)" if len(body) > _SHOWN_CHARACTERS else ""
    received = f"{webhook.first_receive_time.ToJsonString()} to {webhook.last_receive_time.ToJsonString()}"
    lines = {
        "received": f"{received}, {webhook.count} times",
        "trouble": webhook.trouble,
        "key": webhook.idempotency_key or "(none)",
        "sha256": webhook.request_body_sha256,
        "body": body[:_SHOWN_CHARACTERS] + cut,
    }
    if webhook.HasField("settlement"):
        settlement = webhook.settlement
        at = settlement.response.record_time.ToJsonString()
        lines["settled"] = (
            f"{settlement.response.status} at {at} by {settlement.caller or '(unnamed)'}: {settlement.note}"
        )
    print(plain(webhook.webhook_id))
    for name, text in lines.items():
        print(f"  {name:<9}{plain(text)}")


def _members(webhook: wallet_pb2.UnreadableWebhook) -> dict[str, Any]:
    return {
        **MessageToDict(webhook, preserving_proto_field_name=True),
        "request_text": webhook.request_body.decode("utf-8", "backslashreplace"),
    }


def _environment(name: str | None) -> common_pb2.PhoenixEnvironment.ValueType:
    return common_pb2.PhoenixEnvironment.Value(f"PHOENIX_ENVIRONMENT_{(name or 'unspecified').upper()}")
