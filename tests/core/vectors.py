"""Reads the vectors of tests/vectors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parents[1] / "vectors"


def signing() -> dict[str, Any]:
    """Return the signing vectors."""
    loaded: dict[str, Any] = json.loads((_FOLDER / "signing.json").read_text("utf-8"))
    return loaded


def wycheproof(name: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield (group, test) of one Wycheproof file."""
    for group in json.loads((_FOLDER / f"wycheproof-{name}.json").read_text("utf-8"))["testGroups"]:
        for test in group["tests"]:
            yield group, test
