"""The report of a run: tables for people, `build/bench.json` for programs."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.figures import Figure
from bench.rounds import Result


def print_tables(console: Console, results: Sequence[Result], figures: Sequence[Figure]) -> None:
    """Print the tables, and all faults below them."""
    if results:
        table = Table("case", "subject/s", "against", "comparator/s", "ratio", "bar", "", "beside")
        for result in results:
            table.add_row(
                result.name,
                f"{result.subject_per_s:,.0f}",
                result.against,
                f"{result.comparator_per_s:,.0f}",
                f"{result.ratio:.2f}",
                f"{result.bar:g}",
                verdict(result),
                ", ".join(f"{each['ratio']:.2f} {name}" for name, each in result.beside.items()),
            )
        console.print(table)
    if figures:
        table = Table("figure", "value", "unit", "limit", "about")
        for figure in figures:
            limit = "" if figure.limit is None else f"{figure.limit:g}"
            table.add_row(figure.name, f"{figure.value:,.2f}", figure.unit, limit, figure.about)
        console.print(table)
    wrong = [(result.name, result.faults) for result in results] + [(figure.name, figure.faults) for figure in figures]
    for name, faults in wrong:
        for fault, count in faults.items():
            console.print(f"[red]wrong[/red] {name}: {fault} ({count})", highlight=False)


def verdict(result: Result) -> str:
    """Return whether the bar is reached, or by how much it is missed."""
    if result.faults:
        return "[red]wrong answers[/red]"
    if result.ok:
        return "[green]ok[/green]"
    return f"[red]missed by {(1 - result.ratio / result.bar) * 100:.0f} %[/red]"


def write(path: Path, results: Sequence[Result], figures: Sequence[Figure], *, is_quick: bool) -> None:
    """Write the JSON file atomically."""
    document = {
        "machine": machine(),
        "quick": is_quick,
        "results": [_result_json(result) for result in results],
        "figures": [_figure_json(figure) for figure in figures],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    part.replace(path)


def machine() -> dict[str, Any]:
    """Return a description of the machine."""
    model = ""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "grpcio": version("grpcio"),
        "load_average": os.getloadavg()[0],
    }


def _result_json(result: Result) -> dict[str, Any]:
    return {
        "name": result.name,
        "against": result.against,
        "ratio": result.ratio,
        "bar": result.bar,
        "ok": result.ok,
        "subject_per_s": result.subject_per_s,
        "comparator_per_s": result.comparator_per_s,
        "beside": result.beside,
        "faults": dict(result.faults),
        "rounds": result.rounds,
        "configuration": result.configuration,
    }


def _figure_json(figure: Figure) -> dict[str, Any]:
    return {
        "name": figure.name,
        "value": figure.value,
        "unit": figure.unit,
        "limit": figure.limit,
        "about": figure.about,
        "faults": dict(figure.faults),
        **figure.details,
    }
