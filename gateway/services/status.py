"""A GatewayError as google.rpc.Status: the one place where errors become statuses."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2, error_details_pb2, status_pb2

from gateway.errors import FieldFault, GatewayError, InvalidField

DOMAIN = "gateway.phoenix"

# A status travels as trailing metadata, of which clients take 8 KiB by default; a caller whose client gets more sees no
# details. Text outside ASCII takes up to three times its bytes there, and what is binary a third more.
MAX_MESSAGE_BYTES = 600
MAX_VIOLATIONS_BYTES = 3072
_MAX_FIELD_BYTES = 256


def status_of(error: GatewayError) -> status_pb2.Status:
    """Return the status with its details: ErrorInfo always, BadRequest for bad input, RetryInfo where a retry helps."""
    status = status_pb2.Status(
        code=code_pb2.Code.Value(error.code), message=_shortened(error.message, MAX_MESSAGE_BYTES)
    )
    status.details.add().Pack(
        error_details_pb2.ErrorInfo(
            reason=error.reason, domain=DOMAIN, metadata={**error.metadata, "effect": error.effect.value}
        )
    )
    if isinstance(error, InvalidField):
        status.details.add().Pack(error_details_pb2.BadRequest(field_violations=_violations(error.faults)))
    if error.retry_after_s is not None:
        retry = error_details_pb2.RetryInfo(retry_delay=Duration())
        retry.retry_delay.FromNanoseconds(round(error.retry_after_s * 1_000_000_000))
        status.details.add().Pack(retry)
    return status


def _violations(faults: Sequence[FieldFault]) -> list[error_details_pb2.BadRequest.FieldViolation]:
    """Return the faults, as many as there is room for; a last one without a field then counts the others."""
    kept: list[error_details_pb2.BadRequest.FieldViolation] = []
    room = MAX_VIOLATIONS_BYTES
    for fault in faults:
        one = error_details_pb2.BadRequest.FieldViolation(
            field=_shortened(fault.field, _MAX_FIELD_BYTES), description=_shortened(fault.description, _MAX_FIELD_BYTES)
        )
        room -= one.ByteSize()
        if room < 0:
            more = f"{len(faults) - len(kept)} more faults are not listed"
            return [*kept, error_details_pb2.BadRequest.FieldViolation(description=more)]
        kept.append(one)
    return kept


def _shortened(text: str, max_bytes: int) -> str:
    """Return the text, or as much of it as `max_bytes` of UTF-8 hold and an ellipsis; paths hold callers' own names."""
    data = text.encode()
    return text if len(data) <= max_bytes else data[: max_bytes - 3].decode(errors="ignore") + "..."
