"""A channel to a gateway, and what a failed call means in words."""

from __future__ import annotations

from pathlib import Path

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2


class FilesMissing(ValueError):
    """The TLS files given do not make a channel; the text names the option."""


def open_channel(target: str, ca_file: Path | None, cert_file: Path | None, key_file: Path | None) -> grpc.Channel:
    """Return a channel: TLS when a CA is given, else plaintext.

    Raises: FilesMissing.
    """
    options = [("grpc.enable_http_proxy", 0)]  # the gateway is internal: no proxy stands before it
    if ca_file is None:
        if cert_file is not None or key_file is not None:
            raise FilesMissing("--cert-file and --key-file need --ca-file")
        return grpc.insecure_channel(target, options=options)
    if (cert_file is None) != (key_file is None):
        raise FilesMissing("--cert-file and --key-file: give both or neither")
    try:
        credentials = grpc.ssl_channel_credentials(
            root_certificates=ca_file.read_bytes(),
            private_key=None if key_file is None else key_file.read_bytes(),
            certificate_chain=None if cert_file is None else cert_file.read_bytes(),
        )
    except OSError as error:
        raise FilesMissing(f"a TLS file cannot be read ({error.strerror})") from None
    return grpc.secure_channel(target, credentials, options=options)


def reason_of(error: Exception) -> str:
    """Return the gateway's reason (ErrorInfo) of a failed call; "" when it did not come from a gateway."""
    info = error_details_pb2.ErrorInfo()
    return str(info.reason) if _unpacked(error, info) else ""


def retry_after_s(error: Exception) -> float:
    """Return the seconds that a failed call asks to wait (RetryInfo); 0 where it asks for none."""
    retry = error_details_pb2.RetryInfo()
    return retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9 if _unpacked(error, retry) else 0.0


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
    return f"{error.code().name}{f' {reason}' if reason else ''}: {error.details()}"
