"""One file writes files whole: `resilience/atomic_file.py`. Nothing else replaces, links or syncs by hand."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
_BY_HAND = re.compile(r"\bos\.(replace|rename|link|fsync)\(|\bmkstemp\(")

WRITER = "gateway/resilience/atomic_file.py"
REASONS = {
    "gateway/cli/events_progress.py": "syncs what it appends to its journal",
    "gateway/cli/events_report.py": "syncs what it appends to its list of failures",
    "gateway/store/sqlite.py": "syncs a file that it writes only to try the disk, and removes",
    "gateway/sandbox/main.py": "shares nothing; the file says that a process is ready and needs no disk",
    "tools/go_tools.py": "puts a program that it builds in its place; it is built again if it is lost",
    "tools/java_client.py": "puts a folder that it builds in its place; it is built again if it is lost",
    "tools/typescript_client.py": "puts a folder that it builds in its place; it is built again if it is lost",
}


def test_files_are_written_whole_in_one_place() -> None:
    """By hand one of the steps is forgotten, most often the sync of the directory."""
    found = {
        name
        for folder in ("gateway", "tools")
        for path in (ROOT / folder).rglob("*.py")
        if (name := path.relative_to(ROOT).as_posix()) != WRITER and _BY_HAND.search(path.read_text())
    }
    assert set(REASONS) == found
