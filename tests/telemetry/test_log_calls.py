"""Every call of the logger in gateway/ has a fixed text and allowed fields: the allow-list cannot see this itself."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from gateway.telemetry.logs import ALLOWED_FIELDS

GATEWAY = Path(__file__).parents[2] / "gateway"
LEVELS = {"debug", "info", "warning", "error", "critical", "exception"}


def is_logger(node: ast.expr) -> bool:
    """`log()`, `logger` or `self._logger`."""
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id == "log"
    name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
    return name.lstrip("_") == "logger"


def log_calls() -> Iterator[tuple[str, ast.Call]]:
    for path in sorted(GATEWAY.rglob("*.py")):
        if "sandbox" in path.parts or "v1" in path.parts:
            continue  # the emulator has its own output; generated code logs nothing
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            if node.func.attr in LEVELS and is_logger(node.func.value):
                yield f"{path.relative_to(GATEWAY)}:{node.lineno}", node


def test_texts_are_fixed() -> None:
    """The text of a line is a constant: nothing is put into it."""
    wrong = [
        place
        for place, call in log_calls()
        if len(call.args) != 1 or not (isinstance(call.args[0], ast.Constant) and isinstance(call.args[0].value, str))
    ]
    assert wrong == []


def test_fields_are_allowed() -> None:
    """Every field that is written out is allowed, so none is dropped by mistake."""
    wrong = [
        f"{place}: {word.arg}"
        for place, call in log_calls()
        for word in call.keywords
        if word.arg is not None and word.arg not in ALLOWED_FIELDS
    ]
    assert wrong == []


def test_calls_are_found() -> None:
    """The search above sees the logger in its forms."""
    assert len(list(log_calls())) >= 5
