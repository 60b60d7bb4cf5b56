"""Text from callers and Phoenix, in a form that is safe to print.

An escape sequence in a user id could recolour, overwrite or retitle a terminal, and a bidirectional override could make
it show another order of characters. Tables, messages and JSON therefore go through this file.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.text import Text

# DEL, C1 controls (0x9b begins an escape sequence), marks that change the direction, line separators, and half
# characters, which no output can encode. json.dumps leaves them as they are.
_BEYOND_ASCII = "\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff"
_JSON_LEAVES = re.compile(f"[{_BEYOND_ASCII}]")
_UNSAFE = re.compile(f"[\x00-\x1f{_BEYOND_ASCII}]")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?( [A-Za-z0-9]+)?")


def plain(text: str) -> str:
    """Return `text` on one line, with U+FFFD for each character that controls a terminal or cannot be shown."""
    return text if text.isprintable() else _UNSAFE.sub("\N{REPLACEMENT CHARACTER}", text)


def csv_cell(text: str) -> str:
    """Return `text` as a cell that no spreadsheet takes for a formula: an apostrophe before what could begin one.

    Amounts keep their sign. Control characters become U+FFFD.
    """
    shown = plain(text)
    # Spreadsheets skip blanks and take full-width forms, too.
    start = shown.lstrip()[:1]
    is_formula = start != "" and start in "=+-@|%\uff1d\uff0b\uff0d\uff20"
    return f"'{shown}" if is_formula and _NUMBER.fullmatch(shown) is None else shown


def cell(value: object) -> Text:
    """Return a value as a cell of a table: plain, and no markup."""
    from rich.text import Text

    return Text(plain(str(value)))


def json_line(value: Any) -> str:
    """Return a value as JSON on one line, in readable UTF-8, with escapes for what controls a terminal."""
    return _escaped(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def json_page(value: Any) -> str:
    """Return a value as indented JSON, with the same escapes."""
    return _escaped(json.dumps(value, ensure_ascii=False, indent=2))


def _escaped(text: str) -> str:
    return _JSON_LEAVES.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
