"""A channel to a gateway, and what a failed call means in words."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from gateway.cli.options import WrongOptions
from gateway.cli.tls_files import client_context
from gateway.config.model import is_loopback
from gateway.core.plain_text import plain

_TARGET = re.compile(r"(unix|unix-abstract|vsock|dns|ipv4|ipv6|xds):\S+|(\[[0-9A-Fa-f:.%]+\]|[^\s:/\[\]]+):\d{1,5}")


def open_channel(target: str, ca_file: Path | None, cert_file: Path | None, key_file: Path | None) -> grpc.Channel:
    """Return a channel: TLS when a CA is given, else plaintext, with the development token where there is one.

    Raises: WrongOptions.
    """
    if not _TARGET.fullmatch(target):
        raise WrongOptions(f"--target: {plain(target)!r} is no address; write host:port, such as 127.0.0.1:50051")
    options = [("grpc.enable_http_proxy", 0)]  # the gateway is internal, without a proxy in front
    client_context(ca_file, cert_file, key_file)  # grpc would call a wrong file a failed connection
    if ca_file is None:
        return plaintext_channel(target, own_token())
    credentials = grpc.ssl_channel_credentials(
        root_certificates=ca_file.read_bytes(),
        private_key=None if key_file is None else key_file.read_bytes(),
        certificate_chain=None if cert_file is None else cert_file.read_bytes(),
    )
    return grpc.secure_channel(target, credentials, options=options)


def own_token() -> str:
    """Return the development token of the environment; empty where none is set or its file cannot be read."""
    file = os.environ.get("GATEWAY_DEV_TOKEN_FILE")
    if file:
        try:
            return Path(file.strip()).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            return ""
    return os.environ.get("GATEWAY_DEV_TOKEN", "").strip()


def plaintext_channel(target: str, token: str = "") -> grpc.Channel:
    """Return a channel without TLS. Each call carries `token`, on this machine only; empty: no token."""
    channel = grpc.insecure_channel(target, options=[("grpc.enable_http_proxy", 0)])
    is_local = target.startswith("unix:") or is_loopback(target.rpartition(":")[0])
    return grpc.intercept_channel(channel, _WithToken(token)) if token and is_local else channel


class _Details(NamedTuple):
    """Details of a call, as grpc's interceptors pass them on."""

    method: str
    timeout: float | None
    metadata: Any
    credentials: grpc.CallCredentials | None
    wait_for_ready: bool | None
    compression: Any


class _WithToken(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """Adds the bearer token to every call."""

    def __init__(self, token: str) -> None:
        self._metadata = ("authorization", f"Bearer {token}")

    def _add(self, continuation: Callable[[Any, Any], Any], details: Any, request: Any) -> Any:
        metadata = [*(details.metadata or ()), self._metadata]
        return continuation(
            _Details(
                method=details.method,
                timeout=details.timeout,
                metadata=metadata,
                credentials=details.credentials,
                wait_for_ready=details.wait_for_ready,
                compression=details.compression,
            ),
            request,
        )

    intercept_unary_unary: Any = _add
    intercept_unary_stream: Any = _add
    intercept_stream_unary: Any = _add
    intercept_stream_stream: Any = _add


def reason_of(error: Exception) -> str:
    """Return the gateway's reason (ErrorInfo) of a failed call; "" when it did not come from a gateway."""
    info = error_details_pb2.ErrorInfo()
    return str(info.reason) if _unpacked(error, info) else ""


def effect_of(error: Exception) -> str:
    """Return whether Phoenix acted (`none`, `maybe`, `done`); "" when the failure did not come from a gateway."""
    info = error_details_pb2.ErrorInfo()
    return str(info.metadata["effect"]) if _unpacked(error, info) else ""


def retry_after_s(error: Exception) -> float:
    """Return the seconds that a failed call asks to wait (RetryInfo); 0 where it asks for none."""
    retry = error_details_pb2.RetryInfo()
    return _seconds(retry) if _unpacked(error, retry) else 0.0


def details_of(status: status_pb2.Status) -> tuple[str, str, float | None]:
    """Return the reason, the effect, and the seconds to wait (None: a retry does not help) of one result of many."""
    reason, effect, retry_s = "", "", None
    for detail in status.details:
        info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            reason, effect = info.reason, info.metadata["effect"]
        elif detail.Unpack(retry):
            retry_s = _seconds(retry)
    return reason, effect, retry_s


def _seconds(retry: error_details_pb2.RetryInfo) -> float:
    return retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9


def _unpacked(error: Exception, detail: Message) -> bool:
    """Fill `detail` from the status details of its type; tell whether there were any."""
    trailing = error.trailing_metadata() if isinstance(error, grpc.Call) else None
    for key, value in trailing or ():
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            return any(packed.Unpack(detail) for packed in status_pb2.Status.FromString(value).details)
    return False


def in_words(error: Exception) -> str:
    """Say why a call failed: status, reason, message."""
    if not isinstance(error, grpc.Call):
        return type(error).__name__
    reason = reason_of(error)
    return plain(f"{error.code().name}{f' {reason}' if reason else ''}: {error.details()}")


def print_failure(target: str, error: Exception) -> None:
    """Print why a call failed, and what to do next, on standard error."""
    print(f"{target}: {in_words(error)}", file=sys.stderr)
    next_step = advice(error)
    if next_step:
        print(next_step, file=sys.stderr)


def advice(error: Exception) -> str:
    """Return what to do next after a failed call; "" where there is nothing to say."""
    reason = reason_of(error)
    if reason:
        return f"What to do: phoenix-gateway explain {plain(reason)}"
    code = error.code() if isinstance(error, grpc.Call) else None
    if code is grpc.StatusCode.UNAVAILABLE:
        return (
            "Check the address and that the gateway runs. If it uses TLS, give --ca-file, and --cert-file and "
            "--key-file if it asks for certificates; if it does not, leave them out."
        )
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return "The gateway is older or newer than this program: compare its version with phoenix-gateway --version."
    return "Check whether it is ready: /readyz of its admin port." if code is grpc.StatusCode.DEADLINE_EXCEEDED else ""
