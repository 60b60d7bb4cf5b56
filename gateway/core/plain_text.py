"""Text from callers and Phoenix, in a form that is safe to print.

An escape sequence in a user id could recolour, overwrite or retitle a terminal, and a bidirectional override could make
it show another order of characters. Tables, messages and JSON therefore go through this file.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from gateway.core.terminal import BEYOND_ASCII, escaped

if TYPE_CHECKING:
    from rich.text import Text

_UNSAFE = re.compile(f"[\x00-\x1f{BEYOND_ASCII}]")
_FORMULA = "=+-@|%\uff1d\uff0b\uff0d\uff20"
"""What begins a formula. Spreadsheets take full-width forms, too."""
_AFTER_SEPARATOR = re.compile(rf";(?=\s*[{re.escape(_FORMULA)}])")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?( [A-Za-z0-9]+)?")


def plain(text: str) -> str:
    """Return `text` on one line, with U+FFFD for each character that controls a terminal or cannot be shown."""
    return text if text.isprintable() else _UNSAFE.sub("\N{REPLACEMENT CHARACTER}", text)


def csv_cell(text: str) -> str:
    """Return `text` as a cell that no spreadsheet takes for a formula: an apostrophe before what could begin one.

    Amounts keep their sign. Control characters become U+FFFD.
    """
    # Where the comma is the decimal sign, spreadsheets divide a line at semicolons, quotes or not.
    shown = _AFTER_SEPARATOR.sub(";'", plain(text))
    start = shown.lstrip()[:1]  # spreadsheets skip blanks
    is_formula = start != "" and start in _FORMULA
    return f"'{shown}" if is_formula and _NUMBER.fullmatch(shown) is None else shown


def cell(value: object) -> Text:
    """Return a value as a cell of a table: plain, and no markup."""
    from rich.text import Text

    return Text(plain(str(value)))


def json_line(value: Any) -> str:
    """Return a value as JSON on one line, in readable UTF-8, with escapes for what controls a terminal."""
    return escaped(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def json_page(value: Any) -> str:
    """Return a value as indented JSON, with the same escapes."""
    return escaped(json.dumps(value, ensure_ascii=False, indent=2))
