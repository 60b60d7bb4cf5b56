"""JSON that is safe to show on a terminal: what JSON leaves as it is and a terminal obeys becomes an escape. Pure."""

from __future__ import annotations

import re

# DEL, C1 controls (0x9b begins an escape sequence), marks that change the direction, line separators, and half
# characters, which no output can encode. JSON leaves them as they are.
BEYOND_ASCII = "\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff"
"""A class of characters for regular expressions."""
_JSON_LEAVES = re.compile(f"[{BEYOND_ASCII}]")


def escaped(text: str) -> str:
    """Return JSON text that means the same and holds nothing that a terminal obeys."""
    return _JSON_LEAVES.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def escaped_line(line: bytes) -> bytes:
    """Return a line of JSON in UTF-8 in the same way. Most lines are ASCII and cost next to nothing."""
    if line.isascii() and b"\x7f" not in line:
        return line
    return escaped(line.decode("utf-8")).encode("utf-8")
