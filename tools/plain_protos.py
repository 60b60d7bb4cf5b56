"""Takes the validation rules out of a proto, for teams that do not have protovalidate.

Everything else stays as it is, comments included. tests/deploy/test_stubs.py compiles the result and compares it with
the proto that it comes from.
"""

from __future__ import annotations

import re

_IMPORT = re.compile(r'^import "buf/validate/validate\.proto";\n', re.MULTILINE)
_START = re.compile(r"(?P<statement>^[ ]*option \(buf\.validate\.)|[ ]\[\s*\(buf\.validate\.", re.MULTILINE)
_WORD = re.compile(r"""(?P<text>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|//[^\n]*)|[\[\]{};]""")


class UnexpectedOption(Exception):
    """A rule is written in a way that this file does not know."""


def without_rules(proto: str) -> str:
    """Return a proto without its validation options. Raises: UnexpectedOption."""
    left = _IMPORT.sub("", proto)
    parts: list[str] = []
    while (start := _START.search(left)) is not None:
        parts.append(left[: start.start()])
        end = _end_of_option(left, start.start())
        if start["statement"] is not None:
            end += 1  # the line end: the statement has its line to itself
        left = left[end:]
    plain = "".join(parts) + left
    if "buf.validate" in plain or "buf/validate" in plain:
        raise UnexpectedOption("a validation rule is left: write it as the first option of its field")
    return plain


def _end_of_option(text: str, start: int) -> int:
    """Return the position behind the `]` or `;` that ends the option that starts here. Strings may contain both."""
    depth = 0
    for found in _WORD.finditer(text, start):
        match found.group():
            case "[" | "{":
                depth += 1
            case "]" | "}":
                depth -= 1
                if depth == 0 and found.group() == "]":
                    return found.end()
            case ";" if depth == 0:
                return found.end()
    raise UnexpectedOption("an option has no end")
