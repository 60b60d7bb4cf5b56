"""The report of a run: a table for people, `build/bench.json` for programs."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.figures import Figure
from bench.rounds import Result


def print_table(console: Console, results: Sequence[Result], figures: Sequence[Figure]) -> None:
    """Print one table with all bars and figures, what it was measured on, and all faults below it."""
    table = Table("case", "measured", "must", "aim", "", "what", caption=_measured_on(machine()))
    for result in results:
        measured = f"{result.ratio:.2f} {result.against}" if not result.skipped else ""
        aim = "" if result.aim is None else f"{result.aim:g} {result.against}"
        table.add_row(result.name, measured, f"{result.must:g} {result.against}", aim, verdict(result), rates(result))
    for figure in figures:
        must, aim = ("" if bar is None else f"{bar:g}" for bar in (figure.limit, figure.aim))
        said = "[red]wrong[/red]" if figure.faults else ""
        table.add_row(figure.name, f"{figure.value:,.2f} {figure.unit}", must, aim, said, figure.about)
    console.print(table)
    wrong = [(f"{result.name} against {result.against}", result.faults) for result in results]
    wrong += [(figure.name, figure.faults) for figure in figures]
    for name, faults in wrong:
        for fault, count in faults.items():
            console.print(f"[red]wrong[/red] {name}: {fault} ({count})", highlight=False)


def _measured_on(found: Mapping[str, Any]) -> str:
    """Return what the ratios depend on, in one line."""
    return f"CPython {found['python']} ({found['python_path']}), {found['cores']} cores, {found['cpu']}"


def rates(result: Result) -> str:
    """Return the rates of both sides, and the other ratios, in one line."""
    if result.skipped:
        return f"skipped: {result.skipped}"
    said = [f"{result.subject_per_s:,.0f}/s, {result.against} {result.comparator_per_s:,.0f}/s"]
    if result.was_limit:
        said.append(f"by rate; {result.cpu_ratio:.2f} by CPU")
    else:
        said.append(f"by CPU, because a server waited; {result.rate_ratio:.2f} by rate")
    if result.p99_ms is not None:
        said.append(f"p99 {result.p99_ms[0]:.1f} ms, {result.against} {result.p99_ms[1]:.1f} ms")
    return "; ".join(said + [f"{each['ratio']:.2f} {name}" for name, each in result.beside.items()])


def verdict(result: Result) -> str:
    """Return whether the bar is reached, or by how much it is missed."""
    if result.skipped:
        return "[yellow]skipped[/yellow]"
    if result.faults:
        return "[red]wrong[/red]"
    if result.ok:
        return "[green]ok[/green]"
    return f"[red]missed by {(1 - result.ratio / result.must) * 100:.0f} %[/red]"


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
        "python_path": os.path.realpath(sys.executable),
        "grpcio": version("grpcio"),
        "load_average": os.getloadavg()[0],
    }


def _result_json(result: Result) -> dict[str, Any]:
    return {
        "name": result.name,
        "against": result.against,
        "ratio": result.ratio,
        "must": result.must,
        "aim": result.aim,
        "ok": result.ok,
        "skipped": result.skipped,
        "rate_ratio": result.rate_ratio,
        "cpu_ratio": result.cpu_ratio,
        "was_limit": result.was_limit,
        "p99_ms": result.p99_ms,
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
        "aim": figure.aim,
        "about": figure.about,
        "faults": dict(figure.faults),
        **figure.details,
    }
