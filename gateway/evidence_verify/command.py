"""`phoenix-gateway evidence verify`, also `python -m gateway.evidence_verify`: reads files, prints text or JSON.

Exit code 0: everything under "Proven" holds; 1: the export was tampered with; 2: the input cannot be used.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from gateway.evidence_verify.findings import Findings, UnusableInput, Verification
from gateway.evidence_verify.verification import Progress, verify_export

PROVEN, TAMPERED, UNUSABLE = 0, 1, 2
_SHOWN = 20
_LONGEST = 400


def run(
    export: Path,
    heads: Sequence[Path] = (),
    keys: Sequence[Path] = (),
    platform_keys: Sequence[Path] = (),
    *,
    processes: int | None = None,
    as_json: bool = False,
) -> int:
    """Verify an export, print the result to standard output and return the exit code."""
    try:
        read = [[path.read_bytes() for path in paths] for paths in (heads, keys, platform_keys)]
        with _progress() as progress:
            result = verify_export(
                export,
                heads=read[0],
                key_pems=read[1],
                platform_pems=read[2],
                processes=processes,
                progress=progress,
            )
    except (UnusableInput, OSError) as error:
        message = f"{error.filename}: {error.strerror}; check the path" if isinstance(error, OSError) else str(error)
        if as_json:
            print(json.dumps({"verdict": "unusable", "reason": message}))
        else:
            print(_printable(message), file=sys.stderr)
        return UNUSABLE
    # JSON in ASCII: what an export holds must not reach a terminal raw.
    print(json.dumps(to_json(result), indent=2) if as_json else to_text(result))
    return TAMPERED if result.findings.count else PROVEN


def to_json(result: Verification) -> dict[str, object]:
    """Return the result for programs."""
    tampered = bool(result.findings.count)
    return {
        "verdict": "tampered" if tampered else "proven",
        "operator_code": result.operator_code,
        "environment": result.environment,
        "records": result.records,
        "signatures": result.signatures,
        "blocks": result.blocks,
        "changes": result.changes,
        "proven": [] if tampered else list(result.proven),
        "not_proven": list(result.not_proven),
        "gateway_keys": list(result.gateway_keys),
        "platform_keys": list(result.platform_keys),
        "changed_line_ends": list(result.line_ends),
        "finding_count": result.findings.count,
        "findings": [
            {"code": one.code.value, "operation_id": one.operation_id, "line": one.line, "detail": one.detail}
            for one in result.findings.kept
        ],
    }


def to_text(result: Verification) -> str:
    """Return the result for people."""
    lines = [
        f"{result.operator_code} {result.environment}: {result.records:,} records, "
        f"{result.signatures:,} signatures, {result.changes:,} changes in {result.blocks:,} blocks"
    ]
    if result.findings.count:
        lines += ["", f"TAMPERED WITH: {result.findings.count:,} findings", *_finding_lines(result.findings)]
    else:
        lines += ["", "Proven:", *(f"  {one}" for one in result.proven or ("nothing: the chain is empty",))]
    if result.not_proven:
        lines += ["", "Not proven:", *(f"  {one}" for one in result.not_proven)]
    if result.line_ends:
        lines += ["", f"Line ends (a copy or a mail changed them; no tampering): {'; '.join(result.line_ends)}"]
    lines += ["", f"Signed by the gateway's keys {', '.join(result.gateway_keys) or '(none)'}"]
    lines += [f"Signed by Phoenix's keys {', '.join(result.platform_keys) or '(none)'}"]
    return "\n".join(map(_printable, lines))


def _finding_lines(findings: Findings) -> Iterator[str]:
    for one in findings.kept[:_SHOWN]:
        place = f"line {one.line}: " if one.line else ""
        record = f"{one.operation_id[:_LONGEST]}: " if one.operation_id else ""
        yield f"  {one.code.value}: {place}{record}{one.detail[:_LONGEST]}"
    if findings.count > _SHOWN:
        yield f"  and {findings.count - _SHOWN:,} more; use --json to list more of them"


def _printable(text: str) -> str:
    """Return a line without control characters, which a terminal would execute. An export may hold them anywhere."""
    return text if text.isprintable() else "".join(one if one.isprintable() else "?" for one in text)


@contextmanager
def _progress() -> Iterator[Progress]:
    """Show a progress bar on standard error, if that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda what, share: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("reading", total=1.0)
        yield lambda what, share: bar.update(task, description=what, completed=share)
