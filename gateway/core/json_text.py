"""Read foreign JSON strictly, so that it has one meaning only, and write it in one canonical form.

Two refusals: NotJsonObject (certainly not a JSON object; callers may refuse finally) and DoubtfulJson (legal, but
ambiguous; callers must not refuse finally). Numbers are ints and Decimals, never floats. wallet_body.py and wire.py
know the members.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from decimal import Context, Decimal, InvalidOperation
from json.encoder import encode_basestring
from typing import NoReturn, TypeAlias

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | Decimal | None"

MAX_DEPTH = 32
MAX_NUMBER_CHARACTERS = 40
MAX_EXPONENT = 40
# The default context rounds to 28 digits, so that two different large amounts would be equal.
_EXACT = Context(prec=100)
_UTF8_BOM = b"\xef\xbb\xbf"


class NotJsonObject(ValueError):
    """The bytes are certainly not a JSON object: not UTF-8, invalid syntax, NaN, empty, or another JSON value."""


class DoubtfulJson(ValueError):
    """JSON that two parsers could understand differently, or that the store cannot hold."""


def read_object(raw: bytes) -> dict[str, Json]:
    """Parse `raw` as one JSON object.

    Raises: NotJsonObject if it certainly is not one; DoubtfulJson for a byte order mark, a duplicate member at any
    level, more than 32 levels, a number of more than 40 characters or beyond 10^40, a lone surrogate or NUL in a
    string or name. Neither message quotes the text.
    """
    if raw.startswith(_UTF8_BOM):
        raise DoubtfulJson("a byte order mark")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise NotJsonObject("not UTF-8") from None
    try:
        value: Json = _DECODER.decode(text)
    except json.JSONDecodeError:
        raise NotJsonObject("not JSON") from None
    except RecursionError:
        raise DoubtfulJson("too many levels") from None
    if not isinstance(value, dict):
        raise NotJsonObject("not an object")
    # NUL and surrogates can only come from an escape, and deep values only from many brackets: the bodies that
    # Phoenix sends do not need this check.
    if "\\u" in text or text.count("{") + text.count("[") > MAX_DEPTH:
        _inspect(value, texts=True)
    return value


def check_one_meaning(raw: bytes) -> None:
    """Check JSON that is known to parse and is forwarded unchanged.

    Raises: DoubtfulJson for a duplicate member at any level or more than 32 levels.
    """
    try:
        value: Json = _PASSING_DECODER.decode(raw.decode("utf-8"))
    except RecursionError:
        raise DoubtfulJson("too many levels") from None
    _inspect(value, texts=False)


def canonical_text(value: Json) -> str:
    """Return `value` as compact JSON with sorted members, each number as it was written."""
    return _write(value, exact=True)


def same_value(one: str, other: str) -> bool:
    """Tell whether two JSON texts have the same value; 1.0 equals 1, and 12.50 equals 12.5.

    Args: both made by `canonical_text`.
    """
    return one == other or _normalised(one) == _normalised(other)


def _normalised(text: str) -> str:
    value: Json = _DECODER.decode(text)
    return _write(value, exact=False)


def _write(value: Json, *, exact: bool) -> str:
    if isinstance(value, str):
        return encode_basestring(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{encode_basestring(k)}:{_write(value[k], exact=exact)}" for k in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join([_write(item, exact=exact) for item in value]) + "]"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if exact:
        return str(value)
    # All zeros are the same number, whatever their sign and exponent.
    return str(_EXACT.normalize(Decimal(value))) if value else "0"


def _members(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise DoubtfulJson("a duplicate member")
    return members


def _integer(text: str) -> int:
    if len(text) > MAX_NUMBER_CHARACTERS:
        raise DoubtfulJson("a number too long")
    return int(text)


def _fraction(text: str) -> Decimal:
    if len(text) > MAX_NUMBER_CHARACTERS:
        raise DoubtfulJson("a number too long")
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise DoubtfulJson("a number beyond all bounds") from None
    if abs(number.adjusted()) > MAX_EXPONENT:
        raise DoubtfulJson("a number beyond all bounds")
    return number


def _constant(name: str) -> NoReturn:
    raise NotJsonObject("NaN and Infinity are not JSON")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_members, parse_int=_integer, parse_float=_fraction, parse_constant=_constant
)


_PASSING_DECODER = json.JSONDecoder(
    object_pairs_hook=_members, parse_int=lambda text: 0, parse_float=lambda text: 0, parse_constant=_constant
)


def _inspect(root: Json, *, texts: bool) -> None:
    level: list[Json] = [root]
    for _ in range(MAX_DEPTH):
        below: list[Json] = []
        for value in level:
            if isinstance(value, dict):
                below.extend(value.values())
                if texts:
                    _inspect_texts(value)
            elif isinstance(value, list):
                below.extend(value)
        if texts:
            _inspect_texts(below)
        level = [value for value in below if isinstance(value, dict | list)]
        if not level:
            return
    raise DoubtfulJson("too many levels")


def _inspect_texts(values: Iterable[Json]) -> None:
    for text in values:
        if not isinstance(text, str):
            continue
        if "\x00" in text:
            raise DoubtfulJson("NUL in a string")
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise DoubtfulJson("a lone surrogate") from None
