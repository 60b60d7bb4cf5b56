"""Checks of the JSON bodies that the control listener takes."""

import base64
from collections.abc import Set
from typing import Any


class InvalidControlRequest(ValueError):
    """A control request that is not valid. The text names the member and what it must be."""


def reject_unknown(request: dict[str, Any], members: Set[str]) -> None:
    """Raise InvalidControlRequest if `request` has a member that is not in `members`."""
    unknown = set(request) - members
    if unknown:
        raise InvalidControlRequest(f"unknown member: {', '.join(sorted(unknown))}")


def read_number(request: dict[str, Any], name: str, default: float, least: float, most: float) -> float:
    """Return a number from `least` to `most`, or `default` if the member is absent or null."""
    value = request.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise InvalidControlRequest(f"{name}: must be a number from {least} to {most}")
    return value


def read_base64(request: dict[str, Any], name: str) -> bytes:
    """Return the decoded bytes of a member."""
    try:
        return base64.b64decode(request[name], validate=True)
    except (ValueError, TypeError):
        raise InvalidControlRequest(f"{name}: must be base64") from None
