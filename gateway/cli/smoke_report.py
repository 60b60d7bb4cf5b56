"""Prints the results of a smoke run: a table for people, JSON for programs."""

from __future__ import annotations

import json
import sys

from gateway.cli.smoke import Outcome, StepResult, passed
from gateway.core.plain_text import cell, plain

_COLOURS = {Outcome.OK: "green", Outcome.SKIPPED: "yellow", Outcome.FAILED: "bold red", Outcome.NOT_RUN: "dim"}


def print_report(results: list[StepResult], *, as_json: bool) -> int:
    """Print the results and return the exit code: 0 only if every step that ran passed."""
    good = passed(results)
    if as_json:
        steps = [
            {
                "step": one.step,
                "what": one.what,
                "result": one.outcome.value.lower(),
                "detail": one.detail,
                "ms": round(one.elapsed_ms, 1),
                **({"next": one.next_step} if one.next_step else {}),
            }
            for one in results
        ]
        print(json.dumps({"ok": good, "steps": steps}, indent=2))
    else:
        _print_table(results)
    for one in results:
        if one.outcome is Outcome.FAILED:
            print(f"smoke: FAILED at '{one.step}' ({one.what}): {plain(one.detail)}", file=sys.stderr)
            if one.next_step:
                print(one.next_step, file=sys.stderr)
    return 0 if good else 1


def _print_table(results: list[StepResult]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    table = Table("step", "what", "result", "detail")
    table.add_column("ms", justify="right")
    for one in results:
        result = Text(one.outcome.value, style=_COLOURS[one.outcome])
        took = f"{one.elapsed_ms:.0f}" if one.outcome is not Outcome.NOT_RUN else ""
        table.add_row(one.step, one.what, result, cell(one.detail), took)
    # Off a terminal, lines are wide: logs and pipes want one line per step.
    console.print(table) if console.is_terminal else Console(width=160).print(table)
    skipped = [one for one in results if one.outcome is Outcome.SKIPPED]
    for one in skipped:
        console.print(
            plain(f"skipped: {one.step}: {one.detail}"), style="yellow", markup=False, highlight=False, soft_wrap=True
        )
