"""Why the database failed: one named cause for the log, the metric and the doctor, with what to do about it.

Nothing here quotes a message of the server or of the driver: they can hold values.
"""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass

from gateway.resilience.descriptors import EXHAUSTED, lacks_descriptors

CAUSES = frozenset(
    {
        "refused", "unreachable", "name", "tls", "login", "no_database", "limit", "starting", "read_only", "ended",
        "lost", "timeout", "locked", "disk_full", "rights", "schema", "pooler", "option", "encoding", "file",
        "own_files", "other",
    }
)  # fmt: skip
"""The closed set of `Failure.cause`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One failure. `code`: SQLSTATE or SQLite's code, may be empty; `what` and `advice` are for people."""

    cause: str
    code: str
    error: str
    what: str
    advice: str


class DatabaseUnusable(Exception):
    """The database answers and can never work as it is configured. `str()` holds no secret."""

    def __init__(self, cause: str, what: str, advice: str) -> None:
        super().__init__(f"DATABASE_URL: {what}. {advice[:1].upper()}{advice[1:]}.")
        self.cause, self.what, self.advice = cause, what, advice


OWN_FILES = ("this process has no file descriptors left", "raise its limit of open files (ulimit -n, LimitNOFILE)")
DISK_FULL = ("the disk of GATEWAY_DATA_DIR is full", "free some space")
QUOTA = (
    "the quota of the gateway's user on the disk of GATEWAY_DATA_DIR is used up",
    "raise the quota, or free some space",
)
TOO_LARGE = (
    "the SQLite file may not grow: it has reached the limit of file sizes",
    "raise the limit (ulimit -f, LimitFSIZE)",
)
_TEXTS: dict[str, tuple[str, str]] = {
    "refused": (
        "PostgreSQL cannot be reached: nothing listens at its address",
        "check host and port in DATABASE_URL, and that it is up; without it wallet calls get 503",
    ),
    "unreachable": (
        "PostgreSQL cannot be reached",
        "check host, port and TLS options of DATABASE_URL, that it is up, and the firewalls in between",
    ),
    "name": ("the name of PostgreSQL's host cannot be resolved", "check the host in DATABASE_URL, and the DNS"),
    "tls": (
        "no TLS connection to PostgreSQL can be made",
        "check sslmode, sslrootcert and channel_binding in DATABASE_URL, and the server's certificate",
    ),
    "login": ("PostgreSQL refuses the user or password", "check DATABASE_URL, and pg_hba.conf on the server"),
    "no_database": ("there is no database of that name", "create it, or correct DATABASE_URL"),
    "limit": ("PostgreSQL has no free connections", "raise max_connections, or close other connections"),
    "starting": ("PostgreSQL is starting, recovering or shutting down", "wait; if it stays, read its log"),
    "read_only": (
        "PostgreSQL is read-only, so wallet calls get 503",
        "use the primary in DATABASE_URL (target_session_attrs=read-write), or remove default_transaction_read_only",
    ),
    "ended": ("PostgreSQL ended the connection", "look for a restart, a failover or pg_terminate_backend in its log"),
    "lost": ("the connection to PostgreSQL broke", "check the server and the network between it and the gateway"),
    "timeout": (
        "PostgreSQL did not answer in time",
        "check its load and locks (pg_stat_activity), and whether the network drops packets",
    ),
    "locked": ("another session holds locks on the gateway's tables", "find it in pg_stat_activity and end it"),
    "disk_full": ("PostgreSQL's disk or memory is full", "free some space on the server"),
    "rights": (
        "the user of DATABASE_URL may not use the gateway's tables",
        "GRANT SELECT, INSERT, UPDATE, DELETE on them to this user",
    ),
    "schema": (
        "the gateway's tables are missing or were changed",
        "start a gateway of this version as the owner of the tables, and check the search_path",
    ),
    "pooler": (
        "PgBouncer refuses a startup parameter",
        "remove options from DATABASE_URL, or name its parameters in PgBouncer's ignore_startup_parameters",
    ),
    "option": (
        "PostgreSQL refuses a parameter that options names in DATABASE_URL",
        "correct it there, or remove it",
    ),
    "own_files": OWN_FILES,
    "other": ("PostgreSQL refuses the statement or the connection", "read its log"),
}
_FILE_TEXTS: dict[str, tuple[str, str]] = {
    "file": ("the SQLite file cannot be used", "check the disk, and owner and mode of GATEWAY_DATA_DIR"),
    "locked": ("another program has locked the SQLite file", "find it with fuser"),
}
_FULL_TEXTS = {"SQLITE_FULL": DISK_FULL, "ENOSPC": DISK_FULL, "EDQUOT": QUOTA, "EFBIG": TOO_LARGE}
_STATES: tuple[tuple[str, str], ...] = (
    ("25006", "read_only"),
    ("28", "login"),
    ("3D", "no_database"),
    ("53300", "limit"),
    ("53", "disk_full"),
    ("57P03", "starting"),
    ("57P0", "ended"),
    ("25P03", "ended"),
    ("57014", "timeout"),
    ("55P03", "locked"),
    ("40P01", "locked"),
    ("42501", "rights"),
    ("42", "schema"),
    ("3F", "schema"),
    ("0A000", "schema"),
    ("26000", "schema"),
    ("08", "lost"),
)
"""Prefixes of SQLSTATE, the longer ones first."""
_REASONS: tuple[tuple[str, str], ...] = (
    (r"unsupported startup parameter", "pooler"),
    (
        r"(unrecognized configuration|invalid value for|permission denied to set) parameter"
        r"|invalid command-line argument|parameter \"[^\"]*\" (cannot be|requires)",
        "option",
    ),
    (r"could not translate host name|failed to resolve host|name or service not known", "name"),
    (r"too many clients|remaining connection slots|too many connections|no more connections allowed", "limit"),
    (r"starting up|shutting down|not (yet )?accept|recovery mode|consistent recovery", "starting"),
    (r"database \"?[^\"]*\"? does not exist|no such database", "no_database"),
    (r"session is read-only|server is in hot standby|is not in hot standby|server is not primary", "read_only"),
    (
        r"password|authentication|pg_hba\.conf|role \"?[^\"]*\"? (does not exist|is not permitted)|no such user|SASL",
        "login",
    ),
    (r"SSL|certificate|channel binding|TLS|private key", "tls"),
    (r"connection refused|No such file or directory", "refused"),
    (r"closed the connection unexpectedly|connection reset|broken pipe|terminating connection", "lost"),
    (r"timeout expired|timed out|unreachable|no route", "unreachable"),
)
"""What the texts of failed connections say: libpq hands no SQLSTATE over for them."""
_SQLSTATE_OF_REASON = {"limit": "53300", "starting": "57P03", "no_database": "3D000", "login": "28000"}


def failure_of(error: BaseException) -> Failure:
    """Return the cause of an error of SQLAlchemy, psycopg, SQLite or the operating system."""
    found = origin_of(error)
    kind = type(found).__name__
    if isinstance(found, DatabaseUnusable):
        return Failure(cause=found.cause, code="", error=kind, what=found.what, advice=found.advice)
    code = sqlstate_of(found)
    cause = _cause(found, code)
    what, advice = _TEXTS[cause]
    if cause == "option" and (named := re.search(r"parameter \"([A-Za-z0-9_.]{1,63})\"", str(found))):
        what = f"{what} ({named[1]})"
    if why := getattr(found, "why", ""):
        what = f"{what} ({why})"
    return Failure(cause=cause, code=code or _SQLSTATE_OF_REASON.get(cause, ""), error=kind, what=what, advice=advice)


def file_failure_of(error: BaseException) -> Failure:
    """Return the cause of an error of SQLite or of its file."""
    found = origin_of(error)
    code = getattr(found, "sqlite_errorname", "") or errno.errorcode.get(getattr(found, "errno", None) or 0, "")
    if code in ("EMFILE", "ENFILE") or (code.startswith("SQLITE_CANTOPEN") and lacks_descriptors()):
        cause, (what, advice) = "own_files", OWN_FILES
    elif code in _FULL_TEXTS:
        cause, (what, advice) = "disk_full", _FULL_TEXTS[code]
    else:
        cause = "locked" if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")) else "file"
        what, advice = _FILE_TEXTS[cause]
        if not code and isinstance(found, OSError):  # our own texts, see sqlite.py
            what, _, advice = str(found).partition("; ")
    return Failure(cause=cause, code=code, error=type(found).__name__, what=what, advice=advice)


def origin_of(error: BaseException) -> BaseException:
    """Return the driver's error inside SQLAlchemy's, or the error itself."""
    origin = getattr(error, "orig", None)
    return origin if isinstance(origin, BaseException) else error


def sqlstate_of(error: BaseException) -> str:
    """Return the SQLSTATE that the server sent; empty if none came."""
    return getattr(origin_of(error), "sqlstate", None) or ""


def _cause(error: BaseException, code: str) -> str:
    for prefix, cause in _STATES:
        if code.startswith(prefix):
            return cause
    if code:
        return "other"
    if isinstance(error, TimeoutError):
        return "timeout"
    if isinstance(error, OSError) and error.errno in EXHAUSTED:
        return "own_files"
    if isinstance(error, OSError):
        return "refused" if error.errno in (errno.ECONNREFUSED, errno.ENOENT) else "unreachable"
    text = str(error)
    if lacks_descriptors():  # libpq says it in words, or that it cannot resolve the name
        return "own_files"
    return next((cause for pattern, cause in _REASONS if re.search(pattern, text, re.I)), "other")
