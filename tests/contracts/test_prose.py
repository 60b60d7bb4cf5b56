"""Documents, docstrings and comments are plain English: no word that a reader has to look up, no wrong person."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from pathlib import Path

import pytest

from tests.deploy.document_lines import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")])
SOURCES = sorted(
    path
    for room in ("gateway", "tests", "tools", "bench", "examples", "clients")
    for path in (ROOT / room).rglob("*.py")
    if not path.stem.endswith(("_pb2", "_pb2_grpc")) and path != Path(__file__)
)
PROTOS = sorted((ROOT / "protos" / "gateway").rglob("*.proto"))
AVOIDED = re.compile(
    r"\b(he|him|himself|his|in earnest|lies|mends?|mended|stands|somebody|comes to|for good|anew|for want of|by and by"
    r"|issue \d+)\b",
    re.IGNORECASE,
)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_page_avoids_these_words(path: Path) -> None:
    """Say they, in production, is, corrected, someone, permanently, again; give the reason and not its number."""
    code = re.compile(r"`[^`]*`|^```.*?^```", re.MULTILINE | re.DOTALL)
    text = code.sub("", path.read_text(encoding="utf-8"))
    assert AVOIDED.findall(text) == []


def test_docstrings_comments_and_messages_avoid_them_too() -> None:
    """The same words in what a reader of the code, a log or an error reads."""
    found = {str(path.relative_to(ROOT)): words for path in SOURCES if (words := AVOIDED.findall(_prose_of(path)))}
    assert found == {}


def test_comments_of_the_protos_avoid_them_too() -> None:
    """They become the documentation of every client."""
    found = {path.name: words for path in PROTOS if (words := AVOIDED.findall(path.read_text(encoding="utf-8")))}
    assert found == {}


def _prose_of(path: Path) -> str:
    """Return the comments of a module and its strings of several words: docstrings, messages, log lines, help."""
    source = path.read_text(encoding="utf-8")
    if not AVOIDED.search(source):
        return ""
    strings = [
        node.value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value.strip()
    ]
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return "\n".join([*strings, *(token.string for token in tokens if token.type == tokenize.COMMENT)])
