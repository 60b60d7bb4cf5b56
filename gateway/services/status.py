"""A GatewayError as google.rpc.Status: the one place where errors become statuses."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2, error_details_pb2, status_pb2

from gateway.errors import GatewayError, InvalidField

DOMAIN = "gateway.phoenix"


def status_of(error: GatewayError) -> status_pb2.Status:
    """Return the status with its details: ErrorInfo always, BadRequest for bad input, RetryInfo where a retry helps."""
    status = status_pb2.Status(code=code_pb2.Code.Value(error.code), message=error.message)
    status.details.add().Pack(
        error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=dict(error.metadata))
    )
    if isinstance(error, InvalidField):
        status.details.add().Pack(
            error_details_pb2.BadRequest(
                field_violations=[
                    error_details_pb2.BadRequest.FieldViolation(field=fault.field, description=fault.description)
                    for fault in error.faults
                ]
            )
        )
    if error.retry_after_s is not None:
        retry = error_details_pb2.RetryInfo(retry_delay=Duration())
        retry.retry_delay.FromNanoseconds(round(error.retry_after_s * 1_000_000_000))
        status.details.add().Pack(retry)
    return status
