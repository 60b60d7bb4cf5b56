"""Input that is almost right: good input cut, doubled, swapped and sprinkled with what breaks parsers."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

MAX_BYTES = 1 << 16
BREAKERS: tuple[bytes, ...] = (
    b"", b"\x00", b"\n", b"\r\n", b"\xff", b"\xc3\x28", b"\xef\xbb\xbf", b"\xed\xa0\x80",
    b'"', b"\\", b"\\ud800", b"\\u0000", b'""', b'"\xf0\x9f\x98\x80"',
    b"{", b"}", b"[", b"]", b"[" * 40, b'{"a":' * 40, b"[" * 5000,
    b"null", b"true", b"-0", b"1e999", b"-1e-999", b"NaN", b"Infinity", b"9" * 41, b"9" * 5000, b"0.1", b"1.", b"1e5",
    b"=", b"==", b"-----BEGIN PUBLIC KEY-----\n", b"-----END PUBLIC KEY-----\n",
    b"%2e%2e", b"%00", b"..", b"//", b";", b",", b"A" * 1000,
)  # fmt: skip
"""Bytes that parsers stumble over: of text, JSON, numbers, base64, PEM and paths."""


@st.composite
def almost(draw: st.DrawFn, seeds: Sequence[bytes]) -> bytes:
    """Draw input made of a good one by a few edits."""
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(1, 6))):
        data = _edited(draw, data, seeds)
    return data[:MAX_BYTES]


def outside_bytes(seeds: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Draw what may come from outside: almost right for the most part, anything at all otherwise."""
    return st.one_of(almost(seeds), almost(seeds), almost(seeds), st.binary(max_size=300))


def _edited(draw: st.DrawFn, data: bytes, seeds: Sequence[bytes]) -> bytes:
    start = draw(st.integers(0, len(data)))
    end = min(start + draw(st.integers(0, 24)), len(data))
    match draw(st.integers(0, 6)):
        case 0:
            return data[:start] + draw(st.sampled_from(BREAKERS)) + data[end:]
        case 1:
            return data[:start] + draw(st.sampled_from(BREAKERS)) + data[start:]
        case 2:
            return data[:start] + data[end:]
        case 3:
            return data[:end] + data[start:]
        case 4:
            return data[:start]
        case 5:
            other = draw(st.sampled_from(seeds))
            return data[:start] + other[draw(st.integers(0, len(other))) :]
        case _:
            return data[:start] + draw(st.binary(min_size=1, max_size=8)) + data[end:]
