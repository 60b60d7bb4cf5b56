"""Small conversions that several servicers share: environments, times, money."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from gateway.core.types import Environment
from gateway.v1 import common_pb2

_ENVIRONMENTS = {
    common_pb2.PHOENIX_ENVIRONMENT_SANDBOX: Environment.SANDBOX,
    common_pb2.PHOENIX_ENVIRONMENT_PROD: Environment.PROD,
}
_ENVIRONMENTS_BACK = {environment: number for number, environment in _ENVIRONMENTS.items()}


def environment_from_proto(number: common_pb2.PhoenixEnvironment.ValueType) -> Environment | None:
    """Return the environment; None when it was left unset."""
    return _ENVIRONMENTS.get(number)


def environment_to_proto(environment: Environment) -> common_pb2.PhoenixEnvironment.ValueType:
    """Return the enum's number."""
    return _ENVIRONMENTS_BACK[environment]


def timestamp(seconds: float) -> Timestamp:
    """Return the Timestamp of seconds since the Unix epoch, to the microsecond."""
    return timestamp_us(round(seconds * 1_000_000))


def timestamp_us(microseconds: int) -> Timestamp:
    """Return the Timestamp of microseconds since the Unix epoch."""
    whole, rest = divmod(microseconds, 1_000_000)
    return Timestamp(seconds=whole, nanos=rest * 1000)


def timestamp_to_us(value: Timestamp) -> int:
    """Return whole microseconds since the Unix epoch."""
    return value.seconds * 1_000_000 + value.nanos // 1000


def seconds(value: Duration) -> float:
    """Return the Duration in seconds."""
    return value.seconds + value.nanos / 1_000_000_000
