"""The code blocks of a document, and the calls in its shell blocks."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CALL = ".venv/bin/phoenix-gateway call "
SHELL = ("", "sh")
_NOT_RUN = re.compile(r"\s*<!-- not run: .{10,} -->")
"""The line above a block that no test runs, with the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A fenced block, also one inside a list. `line`: its first one."""

    kind: str
    text: str
    line: int
    not_run: bool


def blocks(path: Path) -> list[Block]:
    """Return each fenced block, in the order of the document."""
    found: list[Block] = []
    begin: int | None = None
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        if not line.lstrip().startswith("```"):
            continue
        if begin is None:
            begin = number
            continue
        found.append(
            Block(
                kind=lines[begin].strip().removeprefix("```").strip(),
                text=textwrap.dedent("\n".join(lines[begin + 1 : number])),
                line=begin + 1,
                not_run=begin > 0 and _NOT_RUN.fullmatch(lines[begin - 1]) is not None,
            )
        )
        begin = None
    return found


def texts(path: Path, *kinds: str) -> list[str]:
    """Return the texts of the blocks of these kinds that are not marked as not run."""
    return [one.text for one in blocks(path) if one.kind in kinds and not one.not_run]


def shell_lines(path: Path) -> list[str]:
    """Return the lines of the shell blocks, continued lines joined."""
    joined = [one.text.replace("\\\n", " ") for one in blocks(path) if one.kind in SHELL]
    return [line.strip() for text in joined for line in text.splitlines()]


def call_lines(path: Path) -> list[str]:
    """Return the lines of the shell blocks that call a gateway."""
    return [line for line in shell_lines(path) if line.startswith(CALL)]
