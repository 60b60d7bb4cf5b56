"""The code blocks of a document, and the calls in its shell blocks."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CALL = ".venv/bin/phoenix-gateway call "
_SHELL = ("", "sh")


def blocks(path: Path) -> list[tuple[str, str]]:
    """Return each fenced block as its language and its text, in the order of the document."""
    found: list[tuple[str, str]] = []
    kind: str | None = None
    lines: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("```"):
            lines.append(line)
        elif kind is None:
            kind, lines = line.removeprefix("```").strip(), []
        else:
            found.append((kind, "\n".join(lines)))
            kind = None
    return found


def shell_lines(path: Path) -> list[str]:
    """Return the lines of the shell blocks, continued lines joined."""
    texts = [text.replace("\\\n", " ") for kind, text in blocks(path) if kind in _SHELL]
    return [line.strip() for text in texts for line in text.splitlines()]


def call_lines(path: Path) -> list[str]:
    """Return the lines of the shell blocks that call a gateway."""
    return [line for line in shell_lines(path) if line.startswith(CALL)]
