"""`phoenix-gateway doctor`: prints what `gateway.doctor` finds, as a table, as lines or as JSON."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.core.plain_text import plain

if TYPE_CHECKING:
    from gateway.config import Config
    from gateway.doctor.report import Finding

_STYLES = {"ok": "green", "warning": "yellow", "fault": "bold red", "skipped": "dim"}


def run(config_file: Path | None, board_id: str | None, tenant_id: str, *, use_filled: bool, as_json: bool) -> int:
    """Check everything, or prove events on a board. Return 0: fine; 1: a fault; 2: the configuration cannot be read."""
    from gateway.config import ConfigInvalid, admin_address, load
    from gateway.doctor import config_checks
    from gateway.doctor.diagnose import ask_running
    from gateway.doctor.report import EXIT_UNREADABLE
    from gateway.resilience.clock import SystemClock

    if config_file is not None:
        os.environ["GATEWAY_CONFIG"] = str(config_file)
    try:
        config = load()
    except ConfigInvalid as invalid:
        running = asyncio.run(ask_running(admin_address(), SystemClock()))
        _print([*config_checks.of_invalid(invalid), *running], EXIT_UNREADABLE, as_json=as_json)
        return EXIT_UNREADABLE
    if board_id is not None:
        return _prove(config, board_id, tenant_id, use_filled=use_filled, as_json=as_json)
    return _diagnose(config, as_json=as_json)


def _diagnose(config: Config, *, as_json: bool) -> int:
    from gateway.doctor.diagnose import diagnose
    from gateway.doctor.report import exit_code
    from gateway.resilience.clock import SystemClock

    status, tell = _progress()
    with status:
        findings = asyncio.run(
            diagnose(config, SystemClock(), on_progress=lambda done, total: tell(f"{done} of {total} checks done"))
        )
    code = exit_code(findings)
    _print(findings, code, as_json=as_json)
    return code


def _prove(config: Config, board_id: str, tenant_id: str, *, use_filled: bool, as_json: bool) -> int:
    from gateway.doctor.prove_board import prove
    from gateway.doctor.report import exit_code
    from gateway.resilience.clock import SystemClock

    status, tell = _progress()
    with status:
        report = asyncio.run(
            prove(
                config,
                board_id,
                SystemClock(),
                tenant_id=tenant_id,
                use_filled=use_filled,
                on_step=lambda step: tell(f"trying: {step}"),
            )
        )
    code = exit_code(report.findings)
    _print(report.findings, code, as_json=as_json, settings=report.settings)
    if not as_json:
        for name, value in report.settings.items():
            print(f"{name}={value}")
    return code


def _progress() -> tuple[AbstractContextManager[Any], Callable[[str], None]]:
    """Return a context that shows progress, and a function that sets its text. Off a terminal both do nothing."""
    if not sys.stderr.isatty():
        return nullcontext(), lambda text: None
    from rich.console import Console

    status = Console(stderr=True).status("beginning")
    return status, status.update


def _print(findings: Sequence[Finding], code: int, *, as_json: bool, **further: Any) -> None:
    from gateway.doctor.report import as_json as report

    if as_json:
        print(json.dumps(report(findings, code, **further), indent=2))
    elif sys.stdout.isatty():
        _table(findings)
    else:
        for finding in findings:
            about = f"{finding.name} ({finding.subject})" if finding.subject else finding.name
            fix = f" -> {finding.fix}" if finding.fix else ""
            print("\n".join(map(plain, f"{finding.state.value:<8} {about}: {finding.what}{fix}".split("\n"))))


def _table(findings: Sequence[Finding]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(expand=True)
    table.add_column("")
    # Folded, never cut, so that people can copy fingerprints and settings.
    table.add_column("check", ratio=2, overflow="fold")
    table.add_column("found, and what to do", ratio=5, overflow="fold")
    for finding in findings:
        state = finding.state.value
        about = f"{finding.name} ({finding.subject})" if finding.subject else finding.name
        # Text, not markup, so that brackets are shown unchanged.
        said = Text("\n".join(map(plain, finding.what.split("\n"))))
        if finding.fix:
            said.append(f"\n-> {finding.fix}", style="bold" if state in ("fault", "warning") else "dim")
        table.add_row(Text(state, style=_STYLES[state]), Text(about), said)
    Console().print(table)
