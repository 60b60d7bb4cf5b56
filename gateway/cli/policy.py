"""`phoenix-gateway policy`: check a policy, write out who may do what, and compare two."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.options import JSON

if TYPE_CHECKING:
    from gateway.config.policy_file import PolicyFile
    from gateway.core.rights_matrix import Cell

policy_app = typer.Typer(help="Check who may do what.", no_args_is_help=True, rich_markup_mode=None)

SAME, DIFFERENT, UNUSABLE = 0, 1, 2

FILE = typer.Argument(help="TOML file with the policy. Default: GATEWAY_CONFIG.", metavar="[FILE]")
CALLER = typer.Option("--caller", help="Only this caller.")


@policy_app.command("check")
def check(file: Annotated[Path | None, FILE] = None, as_json: Annotated[bool, JSON] = False) -> None:
    """Read a policy as the gateway does, without secrets, and report every fault with its place.

    Tenants and operators come from the file and the environment. Exit code 0: usable; 2: unusable.
    """
    found = _read(file, as_json=as_json)
    rights = {found.known.access[method].right for grant in found.callers.by_name.values() for method in grant.methods}
    if as_json:
        print(json.dumps({"usable": True, "faults": [], "warnings": [str(one) for one in found.warnings]}, indent=2))
    else:
        for warning in found.warnings:
            print(f"(warning) {warning}")
        print(
            f"The policy can be used: {len(found.callers.by_name)} callers, {len(rights)} rights in use,"
            f" {len(found.known.tenants)} tenants and {len(found.known.operators)} operator environments known."
        )


@policy_app.command("matrix")
def matrix(
    file: Annotated[Path | None, FILE] = None,
    caller: Annotated[str | None, CALLER] = None,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Print who may call what for whom: methods down, callers across. --json has every cell and bound."""
    from gateway.core.rights_matrix import Subjects, bounds_of, cells

    found = _read(file, as_json=as_json)
    if caller is not None and caller not in found.callers.by_name:
        print("--caller: the policy has no such caller", file=sys.stderr)
        raise typer.Exit(UNUSABLE)
    subjects = Subjects(tenants=found.known.tenants, operators=found.known.operators)
    every = [
        (cell, is_open)
        for cell, is_open in cells(found.callers, found.known.access, subjects)
        if caller in (None, cell.caller)
    ]
    names = [name for name in found.callers.by_name if caller in (None, name)]
    bounds = {name: dict(bounds_of(found.callers, name)) for name in names}
    if as_json:
        rows = [{**_as_dict(cell), "allowed": is_open} for cell, is_open in every]
        print(json.dumps({"cells": rows, "bounds": bounds}, indent=2))
        return
    _print_matrix(every, names)
    for name, said in bounds.items():
        print(f"\n{name}")
        for what, text in said.items():
            print(f"  {what}: {text}")


@policy_app.command("diff")
def diff(
    old: Annotated[Path, typer.Argument(help="TOML file.", metavar="OLD")],
    new: Annotated[Path, typer.Argument(help="TOML file.", metavar="NEW")],
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Print the rights that NEW grants (+) and removes (-), and changed bounds (~).

    Exit code 0: equal; 1: different; 2: one is unusable.
    """
    from gateway.core.rights_matrix import Subjects, difference

    before, after = _read(old, as_json=as_json), _read(new, as_json=as_json)
    found = difference(
        (before.callers, Subjects(tenants=before.known.tenants, operators=before.known.operators)),
        (after.callers, Subjects(tenants=after.known.tenants, operators=after.known.operators)),
        after.known.access,
    )
    if as_json:
        changes: dict[str, Any] = {
            "gained": [_as_dict(cell) for cell in found.gained],
            "lost": [_as_dict(cell) for cell in found.lost],
            "bounds": list(found.bounds),
        }
        print(json.dumps(changes, indent=2))
    else:
        for sign, changed in (("+", found.gained), ("-", found.lost)):
            for cell in changed:
                print(f"{sign} {cell.caller}  {_short(cell.method)}  {cell.subject}".rstrip())
        for line in found.bounds:
            print(f"~ {line}")
        if found.is_none:
            print("Both policies are equal.")
    raise typer.Exit(SAME if found.is_none else DIFFERENT)


def _read(file: Path | None, *, as_json: bool) -> PolicyFile:
    """Return the policy. If it is unusable, print its faults and exit with UNUSABLE."""
    import os

    from gateway.config.faults import ConfigInvalid
    from gateway.config.policy_file import read_policy

    path = file or (Path(os.environ["GATEWAY_CONFIG"]) if os.environ.get("GATEWAY_CONFIG") else None)
    if path is None:
        print("No policy is named. Name a file, or set GATEWAY_CONFIG.", file=sys.stderr)
        raise typer.Exit(UNUSABLE)
    try:
        return read_policy(path)
    except ConfigInvalid as invalid:
        if as_json:
            faults = [{"place": one.setting, "problem": one.problem, "remedy": one.remedy} for one in invalid.faults]
            print(json.dumps({"usable": False, "faults": faults}, indent=2))
        else:
            print(f"{path}: {invalid}", file=sys.stderr)
        raise typer.Exit(UNUSABLE) from None


def _print_matrix(every: list[tuple[Cell, bool]], names: list[str]) -> None:
    """Print one row per method. A cell says for whom the caller may call it; "-" means for nobody."""
    opened: dict[str, dict[str, list[str]]] = {}
    rights: dict[str, str] = {}
    for cell, is_open in every:
        rights[cell.method] = cell.right
        subjects = opened.setdefault(cell.method, {}).setdefault(cell.caller, [])
        if is_open:
            subjects.append(cell.subject)
    rows = [["method", "right", *names]]
    for method in rights:
        rows.append([_short(method), rights[method], *(_for_whom(opened[method].get(name, [])) for name in names)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def _for_whom(subjects: list[str]) -> str:
    """Return the subjects in words. "every tenant" and "every operator" replace the names that they include."""
    if not subjects:
        return "-"
    words = []
    for kind, every, own in (
        ("tenant", "*", [one for one in subjects if "/" not in one]),
        ("operator", "*/*", [one for one in subjects if "/" in one]),
    ):
        words += [f"every {kind}"] if every in own else own
    return ", ".join(word or "yes" for word in words)


def _as_dict(cell: Cell) -> dict[str, str]:
    return {
        "caller": cell.caller,
        "method": cell.method.removeprefix("/"),
        "right": cell.right,
        "tenant": cell.tenant,
        "operator": cell.operator,
        "environment": cell.environment,
    }


def _short(method: str) -> str:
    """Return a method as people write it: Service/Method."""
    return method.rsplit(".", 1)[-1]
