"""The index of docs/adr, from the head of each record."""

from __future__ import annotations

import re
from pathlib import Path

_NAME = re.compile(r"\d{4}-[a-z0-9-]+\.md")
_TITLE = re.compile(r"# (\d{4}): (.+)")
_FIELD = re.compile(r"- (Status|Date): (.+)")


def records(folder: Path) -> list[Path]:
    """Return the decision records in their order, without the template."""
    return [path for path in sorted(folder.iterdir()) if _NAME.fullmatch(path.name) and path.name[:4] != "0000"]


def index(folder: Path) -> str:
    """Return a table: number, decision, status, date."""
    rows = []
    for path in records(folder):
        text = path.read_text(encoding="utf-8")
        title = _TITLE.match(text)
        head = dict(_FIELD.findall(text))
        if title is None or head.keys() != {"Status", "Date"}:
            raise ValueError(f"{path.name} does not begin as 0000-template.md does")
        rows.append(f"| [{title[1]}]({path.name}) | {title[2]} | {head['Status']} | {head['Date']} |")
    return "\n".join(["| record | decision | status | date |", "|---|---|---|---|", *rows])
