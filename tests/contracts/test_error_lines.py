"""Every line at error level says its cause, so that whoever is woken by it need not look for it."""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "gateway"
LEVELS = {"error", "critical", "exception"}
CAUSES = {"trouble", "error_type", "exit_code"}
NO_LOGGERS = {"task", "done", "ended"}
"""Variables with a method `exception` that is no log line: tasks and futures."""


def test_every_error_line_names_its_cause() -> None:
    """As `trouble` in words, an exit code, or what `where_raised` tells of an exception (`**`)."""
    without = [
        f"{path.relative_to(PACKAGE)}:{call.lineno}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.relative_to(PACKAGE).parts[0] not in ("v1", "sandbox", "cli")
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr in LEVELS
        and ast.unparse(call.func.value) not in NO_LOGGERS
        and CAUSES.isdisjoint(names := {each.arg for each in call.keywords})
        and None not in names
    ]
    assert [] == without
