"""*Now*: what works, what calls do in the last hour, and which limits are used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.console.visit import Page, Visit
from gateway.telemetry.call_history import STEP_S, STEPS, quantile_s

Steps = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodRow:
    """One method over the last hour. `per_s`: calls per second in each step."""

    name: str
    calls: int
    failed: int
    p50_s: float | None
    p99_s: float | None
    per_s: list[float | None]


async def show(visit: Visit) -> Page:
    """Show the state of this replica."""
    steps = in_order(await visit.sources.history())
    rows = _methods(steps)
    return Page(
        template="now.html",
        values={
            "ready": await visit.sources.readiness(),
            "methods": rows,
            "per_s": [_sum(step, 0) for step in steps],
            "failed_per_s": [_sum(step, 1) for step in steps],
            "limits": sorted(visit.sources.limits(), key=lambda one: -one.share),
        },
    )


def in_order(steps: Steps) -> list[Mapping[str, Any] | None]:
    """Return the last hour's steps, None for those that are missing."""
    if not steps:
        return [None] * STEPS
    by_number = {step["number"]: step for step in steps}
    last = steps[-1]["number"]
    return [by_number.get(number) for number in range(last - STEPS + 1, last + 1)]


def _methods(steps: Sequence[Mapping[str, Any] | None]) -> list[MethodRow]:
    names = sorted({name for step in steps if step is not None for name in step["calls"]})
    return [_method(name, steps) for name in names]


def _method(name: str, steps: Sequence[Mapping[str, Any] | None]) -> MethodRow:
    cells = [None if step is None else step["calls"].get(name) for step in steps]
    known = [cell for cell in cells if cell is not None]
    counts = [sum(column) for column in zip(*(cell[2] for cell in known), strict=True)]
    return MethodRow(
        name=name.removeprefix("/").removeprefix("phoenix.gateway.v1."),
        calls=sum(cell[0] for cell in known),
        failed=sum(cell[1] for cell in known),
        p50_s=quantile_s(0.5, counts),
        p99_s=quantile_s(0.99, counts),
        per_s=[
            None if step is None else (0.0 if cell is None else cell[0] / STEP_S)
            for step, cell in zip(steps, cells, strict=True)
        ],
    )


def _sum(step: Mapping[str, Any] | None, place: int) -> float | None:
    return None if step is None else sum(cell[place] for cell in step["calls"].values()) / STEP_S
