"""What is wrong with Redis: the kind of a failure, what it means, and what to do. For the log, metrics and the doctor.

Only classes, codes and errno names are taken from an error, never its text: a text may hold a key or an argument.
"""

from __future__ import annotations

import enum
import errno
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


class FaultKind(enum.Enum):
    """The kinds. The values are the label of metrics."""

    UNREACHABLE = "unreachable"
    OWN_FILES = "own_files"
    TIMEOUT = "timeout"
    CUT = "cut"
    TLS = "tls"
    LOGIN = "login"
    FORBIDDEN = "forbidden"
    READ_ONLY = "read_only"
    FULL = "full"
    NOT_SAVING = "not_saving"
    TOO_MANY_CLIENTS = "too_many_clients"
    LOADING = "loading"
    BUSY = "busy"
    NO_MASTER = "no_master"
    CLUSTER_DOWN = "cluster_down"
    CLUSTER_NODE = "cluster_node"
    REFUSED = "refused"
    GARBLED = "garbled"


PASSING = frozenset({FaultKind.TIMEOUT, FaultKind.CUT})
"""One of these may be a pause of this process or a single broken connection. Every other kind is certain at once."""

NOT_DONE = frozenset(
    {FaultKind.READ_ONLY, FaultKind.NO_MASTER, FaultKind.LOADING, FaultKind.LOGIN, FaultKind.CLUSTER_DOWN}
)
"""Redis refused the command for the state of this server or connection. Another connection may take it."""

_MEANINGS: dict[FaultKind, tuple[str, str]] = {
    FaultKind.UNREACHABLE: (
        "no connection to Redis",
        "check host and port (or the path of the socket) in REDIS_URL, its DNS name, and that Redis is up",
    ),
    FaultKind.OWN_FILES: (
        "this process has no file descriptors left for a connection to Redis",
        "raise its limit of open files (ulimit -n)",
    ),
    FaultKind.TIMEOUT: (
        "Redis gives no answer in time",
        "check whether Redis is overloaded or stopped, and the network to it",
    ),
    FaultKind.CUT: (
        "Redis closed the connection",
        "check whether Redis or a proxy before it restarts or limits clients",
    ),
    FaultKind.TLS: ("no TLS with Redis", "check its certificate and ca_file in REDIS_URL, or whether it speaks TLS"),
    FaultKind.LOGIN: ("Redis refuses the login", "check user and password in REDIS_URL"),
    FaultKind.FORBIDDEN: (
        "the Redis user may not do what the gateway needs",
        "allow it the keys pgw:* and the commands EVAL, SET, GETRANGE, PTTL, PEXPIRE, UNLINK, DEL, TIME, TYPE, H*",
    ),
    FaultKind.READ_ONLY: (
        "Redis cannot be written to: it is a replica",
        "use the primary, or redis+sentinel://, in REDIS_URL",
    ),
    FaultKind.FULL: ("Redis is full", "raise its maxmemory, or set maxmemory-policy to volatile-ttl"),
    FaultKind.NOT_SAVING: (
        "Redis cannot save its data and therefore takes no writes",
        "read its log: most often its disk is full, or its folder cannot be written",
    ),
    FaultKind.TOO_MANY_CLIENTS: (
        "Redis takes no more clients",
        "raise its maxclients, or look for a leak of connections",
    ),
    FaultKind.LOADING: ("Redis is loading its data", "wait; it answers when it has read its file"),
    FaultKind.BUSY: ("Redis is busy with a script", "find the script with SCRIPT KILL or in its slow log"),
    FaultKind.NO_MASTER: (
        "Redis has no master now, or one without its replicas",
        "check the link between replica and master, and that Sentinel sees a master",
    ),
    FaultKind.CLUSTER_DOWN: (
        "the Redis Cluster is down, or some of its slots are not served",
        "check CLUSTER INFO and CLUSTER NODES on its nodes",
    ),
    FaultKind.CLUSTER_NODE: (
        "REDIS_URL names one server, and what answers is a node of a Redis Cluster",
        "begin REDIS_URL with redis+cluster:// or rediss+cluster://",
    ),
    FaultKind.REFUSED: (
        "Redis refuses a command of the gateway",
        "check the version of Redis (6 or later), its configuration, and the proxy before it",
    ),
    FaultKind.GARBLED: ("what answers is not Redis", "check host, port and scheme in REDIS_URL"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisFault:
    """One failure. `error_type`: class of the library's error; `code`: Redis's code or the errno name, may be empty."""

    kind: FaultKind
    error_type: str
    code: str = ""

    @property
    def what(self) -> str:
        """What is wrong, as a phrase."""
        return _MEANINGS[self.kind][0]

    @property
    def advice(self) -> str:
        """What to do, as a phrase."""
        return _MEANINGS[self.kind][1]


NO_ANSWER = RedisFault(kind=FaultKind.TIMEOUT, error_type="TimeoutError")
"""A wait that ended without an answer."""


_CODES_WITHOUT_CLASS = frozenset({"MISCONF", "NOREPLICAS", "DENIED", "BUSY", "UNKILLABLE", "INPROG", "NOPROTO"})
"""Codes that the library leaves in the text."""


def fault_of(error: BaseException) -> RedisFault:
    """Return what an error of the client library means. The innermost cause that says more decides."""
    for one in _chain(error):
        kind = _certain_kind(one)
        if kind is not None:
            return RedisFault(kind=kind, error_type=type(error).__name__, code=_code(one))
    return RedisFault(kind=_general_kind(error), error_type=type(error).__name__, code=_code(error))


def checked(answers: list[Any]) -> list[Any]:
    """Return the answers of a pipeline that was run with `raise_on_error=False`.

    An error that concerns one key only, such as a value of another type, stays among them. Raises: any other, because
    it means that Redis cannot be used.
    """
    for one in answers:
        if isinstance(one, Exception) and fault_of(one).kind is not FaultKind.REFUSED:
            raise one
    return answers


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and what it was raised from, at most eight: a chain may be a ring."""
    one: BaseException | None = error
    for _ in range(8):
        if one is None:
            return
        yield one
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)


def _certain_kind(error: BaseException) -> FaultKind | None:
    from redis import exceptions

    match error:
        case (
            exceptions.AuthenticationError()
            | exceptions.AuthorizationError()
            | exceptions.AuthenticationWrongNumberOfArgsError()
        ):
            return FaultKind.LOGIN
        case exceptions.NoPermissionError():
            return FaultKind.FORBIDDEN
        case exceptions.ReadOnlyError():
            return FaultKind.READ_ONLY
        case exceptions.OutOfMemoryError():
            return FaultKind.FULL
        case exceptions.BusyLoadingError():
            return FaultKind.LOADING
        case exceptions.MasterDownError():
            return FaultKind.NO_MASTER
        case exceptions.ClusterDownError() | exceptions.SlotNotCoveredError() | exceptions.ClusterError():
            return FaultKind.CLUSTER_DOWN
        case exceptions.AskError():  # MOVED, too; a client of a cluster follows them
            return FaultKind.CLUSTER_NODE
        case exceptions.TimeoutError() | TimeoutError():
            return FaultKind.TIMEOUT
        case ssl.SSLError():
            return FaultKind.TLS
        case OSError(errno=errno.EMFILE | errno.ENFILE):
            return FaultKind.OWN_FILES
        case socket.gaierror() | ConnectionRefusedError() | FileNotFoundError():
            return FaultKind.UNREACHABLE
        case ConnectionError():
            return FaultKind.CUT
        case OSError(errno=number) if number is not None:
            return FaultKind.UNREACHABLE
        case UnicodeError():  # a host name that cannot be encoded
            return FaultKind.UNREACHABLE
        case exceptions.RedisError() if type(error).__name__ == "MasterNotFoundError":  # it names no module of its own
            return FaultKind.NO_MASTER
        case exceptions.RedisError():
            return _kind_by_text(str(error))
        case _:
            return None


def _kind_by_text(text: str) -> FaultKind | None:
    """Return what texts of Redis mean for which the library has no class. Redis 6 wraps codes in a script's error."""
    for mark, kind in (
        ("-READONLY", FaultKind.READ_ONLY),
        ("-OOM", FaultKind.FULL),
        ("MISCONF ", FaultKind.NOT_SAVING),
        ("-MASTERDOWN", FaultKind.NO_MASTER),
        ("NOREPLICAS ", FaultKind.NO_MASTER),
        ("-CLUSTERDOWN", FaultKind.CLUSTER_DOWN),
        ("-NOPERM", FaultKind.FORBIDDEN),
        ("DENIED ", FaultKind.LOGIN),  # protected mode: no password is set, and the client is on another host
        ("BUSY ", FaultKind.BUSY),
        ("max number of clients", FaultKind.TOO_MANY_CLIENTS),
    ):
        if mark in text:
            return kind
    return None


def _general_kind(error: BaseException) -> FaultKind:
    """Return the kind of an error of which nothing more is known."""
    from redis import exceptions

    match error:
        case exceptions.RedisClusterException():
            return FaultKind.CLUSTER_DOWN
        case exceptions.ResponseError():
            return FaultKind.REFUSED
        case exceptions.ConnectionError():
            return FaultKind.CUT
        case _:  # among others ValueError and IndexError, for an answer that is not in the Redis protocol
            return FaultKind.GARBLED


def _code(error: BaseException) -> str:
    """Return Redis's code, such as READONLY, or the errno name, such as ECONNREFUSED."""
    code = getattr(error, "status_code", None)
    if isinstance(code, str):
        return code
    word = str(error).partition(" ")[0]
    if word in _CODES_WITHOUT_CLASS:
        return word
    if isinstance(error, ssl.SSLError):
        return getattr(error, "reason", None) or ""
    if isinstance(error, socket.gaierror):
        return next(
            (name for name in dir(socket) if name.startswith("EAI_") and getattr(socket, name) == error.errno), ""
        )
    return errno.errorcode.get(error.errno, "") if isinstance(error, OSError) and error.errno is not None else ""
