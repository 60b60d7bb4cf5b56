"""Read foreign JSON so that it has one meaning only, and write it in one canonical form.

Two refusals: NotJsonObject (certainly not a JSON object; callers may refuse finally) and DoubtfulJson (legal, but
ambiguous; callers must not refuse finally). `read_object` refuses doubtful JSON as a whole. `read_tolerantly` keeps
what is doubtful, and `check_certain` refuses it in the members that decide. Numbers are ints and Decimals, never
floats. wallet_body.py and wire.py know the members.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Context, Decimal, InvalidOperation
from json.encoder import encode_basestring
from typing import NoReturn, TypeAlias

import orjson

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | Decimal | HugeNumber | None"

MAX_DEPTH = 32
MAX_NUMBER_CHARACTERS = 40
MAX_EXPONENT = 40
# The default context rounds to 28 digits, so that two different large amounts would be equal.
_EXACT = Context(prec=100)
_UTF8_BOM = b"\xef\xbb\xbf"
_CANONICAL = orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_DATACLASS
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class HugeNumber:
    """A number of more than 40 characters or beyond 10^40, as it was written. It is no amount of money."""

    text: str


class AmbiguousObject(dict[str, "Json"]):
    """An object with duplicate members. It has the last of each name; `repeated` holds the names."""

    def __init__(self, pairs: list[tuple[str, Json]]) -> None:
        super().__init__(pairs)
        self.repeated = frozenset(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)


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
    value = _decode(raw, _DECODER, "strict")
    # NUL and surrogates can only come from an escape, and deep values only from many brackets: most bodies do not need
    # this check.
    if b"\\u" in raw or raw.count(b"{") + raw.count(b"[") > MAX_DEPTH:
        _inspect(value, texts=True)
    return value


def _decode(raw: bytes, decoder: json.JSONDecoder, errors: str) -> dict[str, Json]:
    try:
        value: Json = decoder.decode(raw.decode("utf-8", errors))
    except UnicodeDecodeError:
        raise NotJsonObject("not UTF-8") from None
    except json.JSONDecodeError:
        raise NotJsonObject("not JSON") from None
    except RecursionError:
        raise DoubtfulJson("too many levels") from None
    if not isinstance(value, dict):
        raise NotJsonObject("not an object")
    return value


def read_tolerantly(raw: bytes) -> dict[str, Json]:
    """Parse `raw` as one JSON object, and keep what `read_object` calls doubtful.

    A byte order mark at the start is skipped. Duplicate members become an AmbiguousObject, huge numbers a HugeNumber.
    Strings may hold NUL and lone surrogates. Bytes that are not UTF-8, such as half of a character, become U+DC80 to
    U+DCFF. Call `check_certain` before a value decides something.
    Raises: NotJsonObject if it certainly is no object; DoubtfulJson for some hundred levels.
    """
    return _decode(raw.removeprefix(_UTF8_BOM), _TOLERANT_DECODER, "surrogateescape")


def check_certain(value: Json) -> None:
    """Check a value from `read_tolerantly` that decides something.

    Raises: DoubtfulJson for duplicate members, a huge number, NUL, a lone surrogate, or more than 32 levels.
    """
    if isinstance(value, str):
        _inspect_texts((value,))
    elif isinstance(value, HugeNumber):
        raise DoubtfulJson("a number beyond all bounds")
    elif isinstance(value, dict | list):
        _inspect(value, texts=True)


def check_unambiguous(value: Json) -> None:
    """Check a value from `read_tolerantly` that others will read. Strings and numbers may be anything.

    Raises: DoubtfulJson for duplicate members or more than 32 levels.
    """
    if isinstance(value, dict | list):
        _inspect(value, texts=False)


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
    """Return `value` as compact JSON with sorted members, each number as it was written.

    It is valid UTF-8 without NUL: a lone surrogate stays an escape, such as \\ud83d.
    """
    try:
        return orjson.dumps(value, option=_CANONICAL).decode()
    except orjson.JSONEncodeError:  # it knows no Decimal, no integer beyond 64 bits, no surrogate, no HugeNumber
        return _write(value, exact=True)


def same_value(one: str, other: str) -> bool:
    """Tell whether two JSON texts have the same value; 1.0 equals 1, and 12.50 equals 12.5.

    Args: both made by `canonical_text`.
    """
    return one == other or _normalised(one) == _normalised(other)


def _normalised(text: str) -> str:
    value: Json = _TOLERANT_DECODER.decode(text)
    return _write(value, exact=False)


def _write(value: Json, *, exact: bool) -> str:
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, dict):
        return "{" + ",".join([f"{_quoted(k)}:{_write(value[k], exact=exact)}" for k in sorted(value)]) + "}"
    if isinstance(value, HugeNumber):
        return value.text
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


def _quoted(text: str) -> str:
    quoted = encode_basestring(text)
    return quoted if quoted.isascii() else _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", quoted)


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


def _any_members(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    members = dict(pairs)
    return members if len(members) == len(pairs) else AmbiguousObject(pairs)


def _any_integer(text: str) -> Json:
    return HugeNumber(text) if len(text) > MAX_NUMBER_CHARACTERS else int(text)


def _any_fraction(text: str) -> Json:
    try:
        return _fraction(text)
    except DoubtfulJson:
        return HugeNumber(text)


def _constant(name: str) -> NoReturn:
    raise NotJsonObject("NaN and Infinity are not JSON")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_members, parse_int=_integer, parse_float=_fraction, parse_constant=_constant
)

_TOLERANT_DECODER = json.JSONDecoder(
    object_pairs_hook=_any_members, parse_int=_any_integer, parse_float=_any_fraction, parse_constant=_constant
)
_PASSING_DECODER = json.JSONDecoder(
    object_pairs_hook=_members, parse_int=lambda text: 0, parse_float=lambda text: 0, parse_constant=_constant
)


def _inspect(root: Json, *, texts: bool) -> None:
    level: list[Json] = [root]
    for _ in range(MAX_DEPTH):
        below: list[Json] = []
        for value in level:
            if isinstance(value, AmbiguousObject):
                raise DoubtfulJson("a duplicate member")
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
        if isinstance(text, HugeNumber):
            raise DoubtfulJson("a number beyond all bounds")
        if not isinstance(text, str):
            continue
        if "\x00" in text:
            raise DoubtfulJson("NUL in a string")
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise DoubtfulJson("a lone surrogate") from None
