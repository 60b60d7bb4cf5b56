"""The tables of docs/logs.md, from the schema of the log."""

from __future__ import annotations

from gateway.telemetry.log_fields import FIELDS, LEVELS

_TYPES = {str: "text", int: "whole number", float: "number", bool: "flag"}


def tables() -> str:
    """Return the levels and the fields."""
    levels = [f"| `{level}` | {meaning} |" for level, meaning in LEVELS.items()]
    fields = [f"| `{name}` | {_types(field.types)} | {field.meaning} |" for name, field in FIELDS.items()]
    return "\n".join(
        ["| level | means |", "|---|---|", *levels, "", "| field | type | meaning |", "|---|---|---|", *fields]
    )


def _types(types: tuple[type, ...]) -> str:
    if float in types:
        return "number"
    return " or ".join(_TYPES[one] for one in types)
