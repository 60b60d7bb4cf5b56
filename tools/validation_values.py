"""The checks of one value in the functions that validation_code.py writes: what each rule becomes in Python.

A rule that is known is cleared, so that `refuse` ends with the name of any that is left.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import Any

from google.protobuf.descriptor_pb2 import EnumDescriptorProto, FieldDescriptorProto

from buf.validate import validate_pb2

PATTERNS_IN_WORDS = {
    r"^[^\x00-\x1f\x7f]*$": "must hold no control characters (NUL, newline, tab, ...)",
    r"^[^\x00-\x1f\x7f/\\]*$": "must hold no slash, backslash or control character: ids are single steps of a path",
    r"^[A-Za-z0-9_-]*$": "must hold only letters, digits, hyphen and underscore",
    r"^[A-Za-z0-9:._+-]*$": "must be 'current' or a window key such as 2025-11-18T12",
    r"^[A-Z0-9]{2,16}$": "must be 2 to 16 capital letters or digits, such as EUR",
    r"^[0-9a-f]{64}$": "must be 64 lower-case hexadecimal digits",
    r"^(-?[0-9]+(\.[0-9]+)?)?$": "must be a decimal number such as 12.50",
}
_SAME_IN_RE2 = re.compile(
    r"\^(?:[^\\^$.|*+?{}()\[\]]|\\[\\.]|\[\^?(?:[^\\\[\]]|\\\\|\\x[0-9a-f]{2})+\]|[*+?()]|\{\d+(,\d*)?\})*\$"
)
"""Patterns that Python reads as RE2 does, once `^` and `$` are left out and the whole text must match."""
_NO_CONTROLS = r"^[^\x00-\x1f\x7f]*$"


def scalar_checks(
    where: str,
    at: str,
    field: FieldDescriptorProto,
    rules: validate_pb2.FieldRules,
    v: str,
    enums: Mapping[str, EnumDescriptorProto],
    patterns: dict[str, str],
) -> tuple[list[str], bool]:
    """Return the checks of one value, and whether "", 0 or b"" certainly pass them. Clears the rules it knows.

    Args: `v`: the value, as the function names it. `enums`: by full name. `patterns`: the names of the patterns that
    are known so far; new ones are added.
    """
    kind = rules.WhichOneof("type")
    if kind is None:
        return [], True
    checks: list[tuple[str, str]] = []
    own: Any = getattr(rules, kind)
    takes_empty = True
    match kind:
        case "string":
            checks, takes_empty = _text(where, own, v, patterns)
        case "bytes":
            if own.HasField("max_len"):
                checks.append((f"len({v}) > {own.max_len}", f"must be at most {own.max_len} bytes"))
                own.ClearField("max_len")
        case "int32" | "int64" | "uint32" | "uint64":
            checks, takes_empty = bounds(own, v, str)
        case "double":
            if own.finite:
                checks.append((f"not isfinite({v})", "must be finite"))
                own.ClearField("finite")
        case "enum":
            if own.defined_only:
                numbers = ", ".join(str(value.number) for value in enums[field.type_name].value)
                checks.append((f"{v} not in {{{numbers}}}", "value must be one of the defined enum values"))
                own.ClearField("defined_only")
            if own.not_in:
                takes_empty = 0 not in own.not_in
                named = ", ".join(map(str, own.not_in))
                checks.append((f"{v} in {{{named}}}", f"must not be in list [{named}]"))
                own.ClearField("not_in")
        case _:
            sys.exit(f"{where}: rules of {kind} are not known here; add them")
    refuse(where, own)
    rules.ClearField(kind)
    return [line for test, text in checks for line in (f"if {test}:", f"    {fault(at, text)}")], takes_empty


def _text(
    where: str, own: validate_pb2.StringRules, v: str, patterns: dict[str, str]
) -> tuple[list[tuple[str, str]], bool]:
    checks: list[tuple[str, str]] = []
    takes_empty = True
    if own.HasField("min_len"):
        takes_empty = own.min_len == 0
        test = f"not {v}" if own.min_len == 1 else f"len({v}) < {own.min_len}"
        checks.append((test, f"must be at least {own.min_len} characters"))
    if own.HasField("max_len"):
        checks.append((f"len({v}) > {own.max_len}", f"must be at most {own.max_len} characters"))
    if own.HasField("pattern"):
        pattern = own.pattern
        if _SAME_IN_RE2.fullmatch(pattern) is None:
            sys.exit(f"{where}: Python may read the pattern {pattern} in another way than RE2; simplify it")
        name = patterns.setdefault(pattern, f"_PATTERN_{len(patterns)}")
        takes_empty = takes_empty and re.fullmatch(pattern[1:-1], "") is not None
        text = PATTERNS_IN_WORDS.get(pattern, f"does not match regex pattern `{pattern}`")
        # Whatever is printable holds no control character, and asking for that is cheaper.
        test = f"not {v}.isprintable() and not {name}({v})" if pattern == _NO_CONTROLS else f"not {name}({v})"
        checks.append((test, text))
    own_in = getattr(own, "in")
    if own_in:
        takes_empty = takes_empty and "" in own_in
        listed = ", ".join(own_in)
        checks.append((f"{v} not in {tuple(own_in)!r}", f"must be in list [{listed}]"))
    if own.not_in:
        takes_empty = takes_empty and "" not in own.not_in
        checks.append((f"{v} in {tuple(own.not_in)!r}", f"must not be in list [{', '.join(own.not_in)}]"))
    for known in ("min_len", "max_len", "pattern", "in", "not_in"):
        own.ClearField(known)
    return checks, takes_empty


def bounds(own: Any, v: str, number: Any) -> tuple[list[tuple[str, str]], bool]:
    """Return the checks of a lower and an upper bound, and whether 0 passes. Clears them."""
    has_least, has_most = own.HasField("gte"), own.HasField("lte")
    least, most = number(own.gte), number(own.lte)
    shown_least, shown_most = _shown(own.gte), _shown(own.lte)
    takes_zero = not (has_least and int(least) > 0) and not (has_most and int(most) < 0)
    own.ClearField("gte")
    own.ClearField("lte")
    if has_least and has_most:
        return [
            (
                f"not {least} <= {v} <= {most}",
                f"must be greater than or equal to {shown_least} and less than or equal to {shown_most}",
            )
        ], takes_zero
    if has_least:
        return [(f"{v} < {least}", f"must be greater than or equal to {shown_least}")], takes_zero
    return ([(f"{v} > {most}", f"must be less than or equal to {shown_most}")] if has_most else []), takes_zero


def nanoseconds(duration: Any) -> str:
    """Return a bound that is a Duration, in nanoseconds."""
    return str(duration.seconds * 1_000_000_000 + duration.nanos)


def _shown(bound: Any) -> str:
    return str(bound) if isinstance(bound, int) else f"{bound.seconds + bound.nanos / 1e9:g}s"


def fault(field: str, text: str) -> str:
    """Return the statement that notes a fault of a field."""
    return f"faults.append(({path(field)}, {text!r}))"


def path(field: str) -> str:
    """Return a path in Python; one with `{place}` or `{key}` is completed when the check runs."""
    return f'f"{field}"' if "{" in field else f'"{field}"'


def refuse(where: str, rest: Any) -> None:
    """Exit if a rule is left that nothing above has taken."""
    if rest.ByteSize():
        sys.exit(f"{where}: this rule is not known here; add it to tools/validation_*.py: {rest}")
