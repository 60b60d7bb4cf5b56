"""docs/adr: every record follows the template and names the record that supersedes it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.deploy.document_lines import ROOT
from tools.docs.decisions import records

FOLDER = ROOT / "docs" / "adr"
STATUS = re.compile(r"- Status: (Accepted|Proposed|Superseded by \[\d{4}\]\(\d{4}-[a-z0-9-]+\.md\))(; .+|, .+)?")


@pytest.mark.parametrize("path", records(FOLDER), ids=lambda path: path.stem)
def test_a_record_follows_the_template(path: Path) -> None:
    """The same head, and the same sections in the same order."""
    lines = path.read_text(encoding="utf-8").splitlines()
    sections = [line for line in lines if line.startswith("## ")]
    template = (FOLDER / "0000-template.md").read_text(encoding="utf-8").splitlines()
    assert sections == [line for line in template if line.startswith("## ")]
    assert lines[0].startswith(f"# {path.name[:4]}: ")
    assert STATUS.fullmatch(lines[2]), lines[2]
    assert re.fullmatch(r"- Date: \d{4}-\d\d-\d\d", lines[3]), lines[3]


def test_numbers_have_no_gap() -> None:
    """One record a number."""
    assert [int(path.name[:4]) for path in records(FOLDER)] == list(range(1, len(records(FOLDER)) + 1))
