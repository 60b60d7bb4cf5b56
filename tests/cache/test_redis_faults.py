"""What errors of the client library mean, whatever class they have."""

from __future__ import annotations

import errno
import socket
import ssl

import pytest
from redis import exceptions

from gateway.cache.redis_faults import FaultKind, RedisFault, fault_of
from gateway.telemetry.redis_series import REDIS_FAULTS


def caused(outer: Exception, inner: Exception) -> Exception:
    """The outer error as it is raised while the inner one is handled."""
    outer.__context__ = inner
    return outer


CASES: list[tuple[Exception, FaultKind, str]] = [
    (exceptions.RedisClusterException("x"), FaultKind.CLUSTER_DOWN, ""),
    (
        caused(exceptions.RedisClusterException("x"), ConnectionRefusedError(errno.ECONNREFUSED, "x")),
        FaultKind.UNREACHABLE,
        "ECONNREFUSED",
    ),
    (
        caused(exceptions.ConnectionError("x"), exceptions.ReadOnlyError("x", status_code="READONLY")),
        FaultKind.READ_ONLY,
        "READONLY",
    ),
    (exceptions.ConnectionError("Connection closed by server."), FaultKind.CUT, ""),
    (
        caused(exceptions.ConnectionError("x"), socket.gaierror(socket.EAI_NONAME, "x")),
        FaultKind.UNREACHABLE,
        "EAI_NONAME",
    ),
    (caused(exceptions.ConnectionError("x"), OSError(errno.EMFILE, "x")), FaultKind.OWN_FILES, "EMFILE"),
    (caused(exceptions.ConnectionError("x"), ssl.SSLError(1, "x")), FaultKind.TLS, ""),
    (caused(exceptions.ConnectionError("x"), ConnectionResetError(errno.ECONNRESET, "x")), FaultKind.CUT, "ECONNRESET"),
    (exceptions.ConnectionError("max number of clients reached"), FaultKind.TOO_MANY_CLIENTS, ""),
    (exceptions.ResponseError("BUSY Redis is busy running a script."), FaultKind.BUSY, "BUSY"),
    (exceptions.ResponseError("MISCONF Redis is configured to save"), FaultKind.NOT_SAVING, "MISCONF"),
    (exceptions.ResponseError("Error running script: -MISCONF Redis is"), FaultKind.NOT_SAVING, ""),
    (exceptions.ResponseError("NOREPLICAS Not enough good replicas"), FaultKind.NO_MASTER, "NOREPLICAS"),
    (exceptions.ResponseError("DENIED Redis is running in protected mode"), FaultKind.LOGIN, "DENIED"),
    (exceptions.ResponseError("Error running script: -CLUSTERDOWN x"), FaultKind.CLUSTER_DOWN, ""),
    (exceptions.MovedError("1 127.0.0.1:1"), FaultKind.CLUSTER_NODE, ""),
    (exceptions.ClusterError("TTL exhausted."), FaultKind.CLUSTER_DOWN, ""),
    (exceptions.ResponseError("Error running script: -OOM command not allowed"), FaultKind.FULL, ""),
    (exceptions.ResponseError("unknown command 'EVAL'"), FaultKind.REFUSED, ""),
    (exceptions.ChildDeadlockedError(), FaultKind.GARBLED, ""),
    (AttributeError("x"), FaultKind.GARBLED, ""),
    (TimeoutError(), FaultKind.TIMEOUT, ""),
]


@pytest.mark.parametrize(
    ("error", "kind", "code"), CASES, ids=[f"{n}-{kind.value}" for n, (_, kind, _) in enumerate(CASES)]
)
def test_the_cause_is_found_behind_the_class(error: Exception, kind: FaultKind, code: str) -> None:
    """Also behind errors that the library raises for another reason, and outside its base class."""
    found = fault_of(error)
    assert (found.kind, found.code, found.error_type) == (kind, code, type(error).__name__)


def test_every_kind_has_a_meaning_and_a_series() -> None:
    """What is wrong, what to do, and a label."""
    for kind in FaultKind:
        fault = RedisFault(kind=kind, error_type="x")
        assert fault.what
        assert fault.advice
    assert {kind.value for kind in FaultKind} == REDIS_FAULTS
