"""The documents are plain English: no word that a reader has to look up or that names the wrong person."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.deploy.document_lines import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")])
AVOIDED = re.compile(
    r"\b(he|him|his|in earnest|lies|mends?|mended|stands|somebody|comes to|for good|issue \d+)\b", re.IGNORECASE
)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_page_avoids_these_words(path: Path) -> None:
    """Say they, in production, is, corrected, someone, permanently; give the reason and not its number."""
    code = re.compile(r"`[^`]*`|^```.*?^```", re.MULTILINE | re.DOTALL)
    text = code.sub("", path.read_text(encoding="utf-8"))
    assert AVOIDED.findall(text) == []
