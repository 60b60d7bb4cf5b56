"""Logs: one JSON object a line on standard error, or coloured text on a terminal.

Redaction is by allow-list: a field that is not named here is dropped and its name counted in
`dropped`, so that a new field has to be allowed before it can leak. No field holds a payload, a
token, a signature or a secret; exceptions are logged by type and place, never by their text.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import MutableMapping
from typing import Any, Literal, TextIO

import structlog

LogFormat = Literal["json", "console"]

ALLOWED_FIELDS = frozenset(
    {
        "event", "level", "timestamp", "logger",
        "method", "request_id", "caller", "peer", "status", "reason", "duration_ms",
        "tenant", "operator", "environment", "verdict", "disposition", "operation_id", "attempt",
        "suspect_replay", "probed_before", "key_id", "provider", "webhook_request_id", "events",
        "surface", "upstream_status", "tries", "age_s",
        "error_type", "error_at", "address", "admin_address", "version", "revision", "service",
        "serving", "trouble", "setting", "advice", "signal", "drain_s", "pid", "count", "state",
        "kind", "path", "worker", "workers", "store", "cache", "elapsed_ms", "memory_mib",
    }
)  # fmt: skip


def allow_listed(_logger: Any, _name: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Keep the allowed fields; name the others without their values."""
    dropped = sorted(name for name in fields if name not in ALLOWED_FIELDS)
    if dropped:
        for name in dropped:
            del fields[name]
        fields["dropped"] = dropped
    return fields


def where_raised(error: BaseException) -> dict[str, str]:
    """Describe an exception by its type and the line it came from; its text may hold anything and stays out."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{frames[-1].filename.rsplit('/', 1)[-1]}:{frames[-1].lineno} in {frames[-1].name}" if frames else ""
    return {"error_type": type(error).__name__, "error_at": place}


def configure(level: str, log_format: LogFormat | None, stream: TextIO | None = None) -> None:
    """Set logging up for the whole process, other libraries' included (warnings and worse, by type only).

    Args: `level` is debug, info, warning or error; `log_format` None means console on a terminal, else json.
    """
    out = stream or sys.stderr
    chosen = log_format or ("console" if out.isatty() else "json")
    renderer: Any = (
        structlog.dev.ConsoleRenderer() if chosen == "console" else structlog.processors.JSONRenderer(sort_keys=True)
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            allow_listed,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(file=out),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(handlers=[_Foreign()], level=logging.WARNING, force=True)


class _Foreign(logging.Handler):
    """Takes other libraries' warnings: which library, which place, never its text."""

    def emit(self, record: logging.LogRecord) -> None:
        fields = where_raised(record.exc_info[1]) if record.exc_info and record.exc_info[1] else {}
        log().warning(
            "library warning", logger=record.name, path=f"{record.module}:{record.lineno}", **fields
        )


def log() -> Any:
    """Return the process's logger."""
    return structlog.get_logger()
