"""What a file or a variable with a secret means. What editors and shells add is understood by a rule, or refused.

Phoenix answers 401 to a secret with one byte too many and gives no reason, so nothing is signed with a value that was
probably copied wrongly. Understood: one line end after the value, and `\\n` written as two characters in a PEM.
"""

from __future__ import annotations

import re
import unicodedata

from gateway.core.secret import SecretRefused, without_line_end

_UTF8_MARK = b"\xef\xbb\xbf"
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_PEM = b"-----BEGIN "
_PLAIN_QUOTES = "\"'`"
_TYPOGRAPHIC_QUOTES = "\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f\u00ab\u00bb\u2039\u203a"
_ASSIGNMENT = re.compile(r"export\s|[A-Z][A-Z0-9]*(_[A-Z0-9]+)+\s*(=[^=]|:\s)")
_JSON_OBJECT = re.compile(r'\{\s*".*\}', re.DOTALL)
_INVISIBLE = frozenset({"Cc", "Cf", "Zl", "Zp", "Zs"})


def secret_meant(content: bytes) -> bytes:
    """Return the secret that the content of a file or variable holds. Raises: SecretRefused with what was found."""
    if content.startswith(_UTF16_MARKS):
        raise SecretRefused("is UTF-16 text; save it as UTF-8")
    if content.startswith(_UTF8_MARK):
        raise SecretRefused("begins with a byte-order mark (BOM); save it as UTF-8 without one")
    if b"\0" in content:
        raise SecretRefused("contains a NUL byte; write it again as UTF-8 text (UTF-16 text looks like this)")
    if content.lstrip().startswith(_PEM):
        return content.replace(b"\\r\\n", b"\n").replace(b"\\n", b"\n")
    value = without_line_end(content)
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        raise SecretRefused("is not valid UTF-8 text; write it again") from None
    if (fault := _fault_of(text)) is not None:
        raise SecretRefused(fault)
    return value


def in_quotes(text: str) -> bool:
    """Tell whether quotes stand around the text: ASCII ones on both sides, or typographic ones on either side."""
    text = text.strip()
    if len(text) < 2:
        return False
    if text[0] in _TYPOGRAPHIC_QUOTES or text[-1] in _TYPOGRAPHIC_QUOTES:
        return True
    return text[0] == text[-1] and text[0] in _PLAIN_QUOTES


def quote_at_an_end(text: str) -> bool:
    """Tell whether the text begins or ends with a quote of any kind, such as one that was copied by half."""
    return bool(text) and not {text[0], text[-1]}.isdisjoint(_PLAIN_QUOTES + _TYPOGRAPHIC_QUOTES)


def invisible_in(text: str, *, but: str = "") -> str | None:
    """Return the first character that shows nothing and is no plain blank, as U+XXXX; None if there is none."""
    for character in text:
        if unicodedata.category(character) in _INVISIBLE and character != " " and character not in but:
            return f"U+{ord(character):04X}"
    return None


def one_line(text: str) -> str:
    """Return the text. Raises: SecretRefused if it has several lines."""
    if "\n" in text or "\r" in text:
        raise SecretRefused("has several lines; leave only the one with the value")
    return text


def _fault_of(text: str) -> str | None:
    if text.endswith(("\n", "\r")):
        return "ends with more than one line end; leave one or none"
    if text != text.strip():
        return "begins or ends with a blank; remove it"
    if (found := invisible_in(text, but="\r\n\t")) is not None:
        return f"contains the invisible character {found}; remove it"
    if text.endswith("\\n"):
        return "ends with a line end that is written as the two characters \\n; remove them"
    if in_quotes(text):
        return "is in quotes, which would be part of the value; remove them"
    if _ASSIGNMENT.match(text):
        return "is a whole assignment (NAME=value); leave only the value"
    if _JSON_OBJECT.fullmatch(text):
        return "is a JSON object; leave only the value, or name its field after # in a reference"
    return None
