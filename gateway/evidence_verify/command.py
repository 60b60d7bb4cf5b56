"""`phoenix-gateway evidence verify`, also `python -m gateway.evidence_verify`: files in, words or JSON out.

Exit code 0: proven, as far as the words say; 1: tampered with; 2: the input cannot be used.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from gateway.evidence_verify.findings import Findings, Proof, Unusable
from gateway.evidence_verify.proof import Progress, prove

PROVEN, TAMPERED, UNUSABLE = 0, 1, 2
_SHOWN = 20


def run(
    export: Path,
    heads: Sequence[Path] = (),
    keys: Sequence[Path] = (),
    platform_keys: Sequence[Path] = (),
    *,
    processes: int | None = None,
    as_json: bool = False,
) -> int:
    """Verify an export and tell the result on standard output; return the exit code."""
    try:
        read = [[_content(path) for path in paths] for paths in (heads, keys, platform_keys)]
        with _progress() as progress:
            proof = prove(
                export,
                heads=read[0],
                key_pems=read[1],
                platform_pems=read[2],
                processes=processes,
                progress=progress,
            )
    except (Unusable, OSError) as error:
        told = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error)
        if as_json:
            print(json.dumps({"verdict": "unusable", "reason": told}))
        else:
            print(told, file=sys.stderr)
        return UNUSABLE
    print(json.dumps(to_json(proof), indent=2, ensure_ascii=False) if as_json else to_words(proof))
    return TAMPERED if proof.findings.count else PROVEN


def to_json(proof: Proof) -> dict[str, object]:
    """Return the result as it is told to programs."""
    tampered = bool(proof.findings.count)
    return {
        "verdict": "tampered" if tampered else "proven",
        "operator_code": proof.operator_code,
        "environment": proof.environment,
        "records": proof.records,
        "signatures": proof.signatures,
        "blocks": proof.blocks,
        "changes": proof.changes,
        "proven": [] if tampered else list(proof.proven),
        "not_proven": list(proof.not_proven),
        "gateway_keys": list(proof.gateway_keys),
        "platform_keys": list(proof.platform_keys),
        "finding_count": proof.findings.count,
        "findings": [
            {"code": one.code.value, "operation_id": one.operation_id, "line": one.line, "detail": one.detail}
            for one in proof.findings.kept
        ],
    }


def to_words(proof: Proof) -> str:
    """Return the result as it is told to people."""
    lines = [
        f"{_plain(proof.operator_code)} {proof.environment}: {proof.records:,} records, "
        f"{proof.signatures:,} signatures, {proof.changes:,} changes in {proof.blocks:,} blocks"
    ]
    if proof.findings.count:
        lines += ["", f"TAMPERED WITH: {proof.findings.count:,} findings", *_told(proof.findings)]
    else:
        lines += ["", "Proven:", *(f"  {one}" for one in proof.proven or ("nothing: there is nothing in it",))]
    if proof.not_proven:
        lines += ["", "Not proven:", *(f"  {one}" for one in proof.not_proven)]
    lines += ["", f"Signed by the gateway's keys {', '.join(proof.gateway_keys) or '(none)'}"]
    lines += [f"and by Phoenix's keys {', '.join(proof.platform_keys) or '(none)'}"]
    return "\n".join(lines)


def _told(findings: Findings) -> Iterator[str]:
    for one in findings.kept[:_SHOWN]:
        place = f"line {one.line}: " if one.line else ""
        record = f"{_plain(one.operation_id)}: " if one.operation_id else ""
        yield f"  {one.code.value}: {place}{record}{_plain(one.detail)}"
    if findings.count > _SHOWN:
        yield f"  and {findings.count - _SHOWN:,} more; --json lists more of them"


def _plain(text: str) -> str:
    """Return text out of an export without what a terminal would obey."""
    return "".join(one if one.isprintable() else "?" for one in text[:400])


def _content(path: Path) -> bytes:
    return path.read_bytes()


@contextmanager
def _progress() -> Iterator[Progress]:
    """Show a bar on standard error where that is a terminal."""
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
