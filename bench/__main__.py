"""`python -m bench` measures all cases, or the named ones.

Exit code 0: all bars are reached, or skipped because Go is missing, and all answers are correct. 1: a bar is missed or
an answer is wrong. 2: a case could not be measured, because h2load is missing or a process does not start.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console

from bench import (
    chain_figures,
    durable,
    flood_figures,
    mint_figures,
    overload_figures,
    planner_figures,
    policy_figures,
    proof_figures,
    report,
    restart_figures,
    settings_figures,
    signer_figures,
    stream_figures,
    token_figures,
    trace_figures,
    worker_figures,
)
from bench.cases import CASES, Against
from bench.credentials import Credentials
from bench.figures import FIGURES as CALL_FIGURES
from bench.figures import NEED_GATEWAY, Figure
from bench.h2load import H2loadUnreadable, path_of_h2load
from bench.processes import ROOT, Pinned, StartFailed, Workspace, cores
from bench.rounds import Plan, Result, run_case
from bench.servers import SUBJECTS, Setup

NOT_MEASURED = 2
SERVING_FIGURES = {
    **stream_figures.FIGURES,
    **policy_figures.FIGURES,
    **flood_figures.FIGURES,
    **overload_figures.FIGURES,
    **durable.FIGURES,
    **mint_figures.FIGURES,
    **settings_figures.FIGURES,
    **worker_figures.FIGURES,
    **restart_figures.FIGURES,
    **trace_figures.FIGURES,
}
"""Figures that only the gateway has."""
FIGURES = {
    **CALL_FIGURES,
    **SERVING_FIGURES,
    **chain_figures.FIGURES,
    **token_figures.FIGURES,
    **signer_figures.FIGURES,
    **planner_figures.FIGURES,
    **proof_figures.FIGURES,
}


def main(arguments: list[str] | None = None) -> int:
    """Measure and print the results."""
    options = _parser().parse_args(arguments)
    console = Console()
    if not console.is_terminal:
        console = Console(width=140)  # the width of a log
    if options.list:
        for case in CASES:
            bars = ", ".join(f"{bar.must:g} {bar.against.value}" for bar in case.bars)
            console.print(f"{case.name}: {case.about}; must {bars}", highlight=False)
        for name, measure in FIGURES.items():
            console.print(f"{name}: {(measure.__doc__ or '').splitlines()[0]}", highlight=False)
        return 0
    names = [case.name for case in CASES] + list(FIGURES)
    unknown = [name for name in options.only if name not in names]
    if unknown:
        console.print(f"unknown case: {', '.join(unknown)}; known: {', '.join(names)}", highlight=False)
        return NOT_MEASURED
    if path_of_h2load() is None:
        console.print("h2load is missing. Install it: apt-get install nghttp2-client", highlight=False)
        return NOT_MEASURED
    plan = Plan(
        rounds=options.rounds,
        seconds=1.0 if options.quick else options.seconds,
        subject=options.subject,
        against=frozenset(Against(name) for name in options.against),
    )
    return _measure(options.only or names, plan, options.front, options.output, console, is_quick=options.quick)


def _measure(names: list[str], plan: Plan, front: str, output: Path, console: Console, *, is_quick: bool) -> int:
    pinned = cores()
    if pinned is None:
        console.print("[yellow]no process is pinned to a core: this needs Linux and two cores[/yellow]")
    server_core, load_core = pinned or (None, None)
    results: list[Result] = []
    figures: list[Figure] = []
    has_failed = False
    for name in names:
        with Pinned(load_core), Workspace() as workspace, console.status(name) as status:
            setup = Setup(
                workspace=workspace,
                credentials=Credentials(),
                server_core=server_core,
                load_core=load_core,
                front=front,
            )

            def note(text: str, name: str = name) -> None:
                status.update(f"{name}: {text}")
                if not console.is_terminal:
                    console.print(f"{name}: {text}", highlight=False)

            try:
                case = next((each for each in CASES if each.name == name), None)
                if case is not None:
                    results += run_case(case, plan, setup, note) if plan.bars_of(case) else []
                elif plan.subject == "gateway" or name not in NEED_GATEWAY | SERVING_FIGURES.keys():
                    figures += FIGURES[name](setup, plan.seconds)
            except (StartFailed, H2loadUnreadable) as fault:
                console.print(f"[red]cannot measure[/red] {name}: {fault}", highlight=False)
                has_failed = True
    report.print_table(console, results, figures)
    if results or figures:  # otherwise keep the file of an earlier run
        report.write(output, results, figures, is_quick=is_quick)
        console.print(f"written: {output}", highlight=False)
    if has_failed:
        return NOT_MEASURED
    is_ok = all(result.ok for result in results) and not any(figure.faults for figure in figures)
    return 0 if is_ok else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="measure this case; may be repeated"
    )
    parser.add_argument("--list", action="store_true", help="list the cases")
    parser.add_argument(
        "--quick", action="store_true", help="rounds of one second, to test the harness; do not use the results"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--against",
        action="append",
        choices=[one.value for one in Against],
        default=[],
        help="measure only the bars against this comparator; may be repeated",
    )
    parser.add_argument("--front", choices=("http2", "grpc"), default="http2", help="GATEWAY_FRONT of the gateway")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of a round in seconds")
    parser.add_argument(
        "--subject", choices=SUBJECTS, default="gateway", help="baseline: measure comparator N in place of the gateway"
    )
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "bench.json")
    return parser


if __name__ == "__main__":
    sys.exit(main())
