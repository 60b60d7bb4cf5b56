"""The `grpcurl` lines of a document: those of its shell blocks, continued lines joined."""

from __future__ import annotations

from pathlib import Path

_SHELL = ("```", "```sh")


def grpcurl_lines(path: Path) -> list[str]:
    """Return the lines in the order of the document."""
    found: list[str] = []
    fence: str | None = None
    for line in path.read_text(encoding="utf-8").replace("\\\n", " ").splitlines():
        if line.startswith("```"):
            fence = line.strip() if fence is None else None
        elif fence in _SHELL and line.startswith("grpcurl "):
            found.append(line.strip())
    return found
