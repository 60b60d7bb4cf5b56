"""Outside JSON, read so that it means one thing."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.json_text import (
    DoubtfulJson,
    HugeNumber,
    NotJsonObject,
    canonical_text,
    check_certain,
    check_unambiguous,
    read_object,
    read_tolerantly,
    same_value,
)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" ",
        b"\xff",
        b'\xff{"a":1}',
        b'{"a"\xff:1}',
        b"{",
        b"{}x",
        b"{} {}",
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b"[]",
        b"null",
        b"7",
        b'"x"',
        b'{"a":"\n"}',
        b'{"a":01}',
        b"{a:1}",
        b'{"a":1,}',
        b'{"a":"\\x"}',
        b'{"a"\x00:1}',
    ],
)
def test_what_cannot_be_an_object_is_certain(raw: bytes) -> None:
    """Broken syntax, no UTF-8 outside of strings, NaN, another value: certainly no JSON object."""
    for read in (read_object, read_tolerantly):
        with pytest.raises(NotJsonObject):
            read(raw)


@pytest.mark.parametrize("cut", [b"\xed\xa0\x80", b"Goal \xf0\x9f", b"J\xf6rg"], ids=["half a pair", "cut", "Latin-1"])
def test_a_text_that_is_not_utf_8_is_kept_and_decides_nothing(cut: bytes) -> None:
    """Of foreign JSON whose bytes are kept. Elsewhere it is no JSON."""
    raw = b'{"title":"' + cut + b'","a":"x"}'
    read = read_tolerantly(raw)
    assert read["a"] == "x"
    kept = canonical_text(read)
    assert (kept.isprintable(), read_tolerantly(kept.encode())) == (True, read)
    with pytest.raises(DoubtfulJson):
        check_certain(read["title"])
    with pytest.raises(NotJsonObject):
        read_object(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b'\xef\xbb\xbf{"a":1}',
        b'{"a":1,"a":1}',
        b'{"x":{"a":1,"\\u0061":2}}',
        b'{"x":[{"a":1,"a":2}]}',
        b'{"a":"\\ud800"}',
        b'{"\\udfff":1}',
        b'{"a":"x\\u0000"}',
        b'{"\\u0000":1}',
        b'{"a":[["\\u0000"]]}',
        b'{"a":' + b"9" * 41 + b"}",
        b'{"a":' + b"9" * 5000 + b"}",
        b'{"a":1e41}',
        b'{"a":1e-41}',
        b'{"a":1e99999999999999999999}',
        b'{"a":0.' + b"1" * 40 + b"}",
        b'{"a":' + b"[" * 32 + b"]" * 32 + b"}",
        b'{"a":' * 100000 + b"1" + b"}" * 100000,
        b'{"a":' * 33 + b"1" + b"}" * 33,
    ],
)
def test_valid_but_doubtful_settings_are_warnings(raw: bytes) -> None:
    """Doubled members, surrogates, NUL, huge numbers, deep nesting, a byte order mark: in doubt."""
    with pytest.raises(DoubtfulJson):
        read_object(raw)
    if not raw.startswith(b"\xef\xbb\xbf"):
        with pytest.raises(DoubtfulJson):
            check_certain(read_tolerantly(raw))


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b'\xef\xbb\xbf{"a":1}', '{"a":1}'),
        (b'{"a":"Goal \\ud83d"}', '{"a":"Goal \\ud83d"}'),
        (b'{"\\udfff":1}', '{"\\udfff":1}'),
        (b'{"a":["x\\u0000"]}', '{"a":["x\\u0000"]}'),
        (b'{"a":"\\ud83d\\ude00"}', '{"a":"\U0001f600"}'),
        (b'{"a":1e400}', '{"a":1e400}'),
        (b'{"a":-1E+99999}', '{"a":-1E+99999}'),
        (b'{"a":' + b"9" * 5000 + b"}", '{"a":' + "9" * 5000 + "}"),
    ],
)
def test_what_decides_nothing_is_kept_as_it_came(raw: bytes, text: str) -> None:
    """The text is valid UTF-8 without NUL, and means what came."""
    read = read_tolerantly(raw)
    check_unambiguous(read)
    kept = canonical_text(read)
    assert (kept, read_tolerantly(kept.encode("utf-8"))) == (text, read)
    assert same_value(kept, kept)


def test_a_huge_number_is_no_number() -> None:
    """It compares equal only to the same text."""
    assert read_tolerantly(b'{"a":1e400}') == {"a": HugeNumber("1e400")}
    assert not same_value('{"a":1e400}', '{"a":1e401}')


def test_thirty_two_levels_are_read() -> None:
    """The bound itself is allowed, and brackets inside strings do not count."""
    deep = read_object(b'{"a":' * 31 + b'["' + b"{" * 50 + b'"]' + b"}" * 31)
    assert json.dumps(deep).count("a") == 31


def test_numbers_are_exact() -> None:
    """Integers stay integers and fractions become Decimals as written."""
    value = read_object(b'{"a":12.50,"b":1250,"c":1E2,"d":-0,"e":0.1}')
    kinds = [type(item) for item in value.values()]
    texts = [str(item) for item in value.values()]
    assert (kinds, texts) == ([Decimal, int, Decimal, int, Decimal], ["12.50", "1250", "1E+2", "0", "0.1"])


def test_canonical_text_is_sorted_and_compact() -> None:
    """Order and spacing go, values stay as they are."""
    raw = '{ "b" : [1, 2.50, null, true, false], "a": {"é": "\\"\\n"} }'.encode()
    assert canonical_text(read_object(raw)) == '{"a":{"é":"\\"\\n"},"b":[1,2.50,null,true,false]}'


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (b'{"a":1.0}', b'{"a":1}', True),
        (b'{"a":12.50}', b'{"a":12.5}', True),
        (b'{"a":1E2}', b'{"a":100}', True),
        (b'{"a":-0}', b'{"a":0.0}', True),
        (b'{"a":-0.0}', b'{"a":0}', True),
        (b'{"a":[{"b":1.0}]}', b'{"a":[{"b":1}]}', True),
        (b'{"a":1}', b'{"a":true}', False),
        (b'{"a":1}', b'{"a":"1"}', False),
        (b'{"a":12.5}', b'{"a":12.51}', False),
        (b'{"a":null}', b"{}", False),
        (b'{"a":[1,2]}', b'{"a":[2,1]}', False),
        (b'{"a":1234567890123456789012345678901234567890}', b'{"a":1234567890123456789012345678901234567891}', False),
    ],
)
def test_only_a_real_difference_counts(one: bytes, other: bytes, same: bool) -> None:
    """Two spellings of a number are one value; another kind or value is not."""
    assert same_value(canonical_text(read_object(one)), canonical_text(read_object(other))) is same


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**18), 10**18) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=3), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=3), _VALUES, max_size=4))
def test_canonical_text_means_what_was_read(value: dict[str, Any]) -> None:
    """Whatever an encoder wrote is read and written back as the same value, NUL apart."""
    raw = json.dumps(value).encode()
    if "\\u0000" in raw.decode():
        return
    read = read_object(raw)
    assert (json.loads(canonical_text(read)), read_object(canonical_text(read).encode())) == (value, read)


_TEXTS = st.text(max_size=3)  # with lone surrogates
_LEAVES = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | _TEXTS | st.just(HugeNumber("1" * 50))


@given(st.recursive(_LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3)))
def test_a_neighbour_changes_no_canonical_text(value: Any) -> None:
    """A Decimal has everything beside it written by our own code in place of orjson's."""
    assert canonical_text([value, Decimal("1.50")]) == f"[{canonical_text(value)},1.50]"


@given(st.binary(max_size=60))
def test_no_bytes_crash_the_reader(raw: bytes) -> None:
    """Any bytes are an object, certainly none, or in doubt."""
    try:
        assert isinstance(read_object(raw), dict)
    except (NotJsonObject, DoubtfulJson):
        return
