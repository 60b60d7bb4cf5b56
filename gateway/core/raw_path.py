"""Paths that a caller made, let through only if every reader on the way takes them for the same path; and which of them
are open.

Proxies and servers differ in what they do with "..", "//", encoded slashes or ";", so a path that holds one could be
judged as one thing here and answered as another there. Leaves who may call to the actions. Source: issue 7, point 8.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

MAX_PATH_CHARACTERS = 2048
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
ANY_SEGMENT = "*"
SURFACES = frozenset({"INGESTION", "QUERY", "ADMIN", "OPERATOR"})
"""Words that may stand before a pattern."""

_SEGMENT = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,=:@-]|%[0-9A-Fa-f]{2})+")
_ENCODED = re.compile(r"%([0-9A-Fa-f]{2})")
_ENCODED_OCTET = re.compile(rb"%([0-9A-Fa-f]{2})")
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_NEVER_ENCODED = _UNRESERVED | frozenset(b"/\\%?#;") | frozenset(range(0x20)) | {0x7F}
"""An unreserved character has one spelling, its own; the others are structure to somebody."""
_STRUCTURE = frozenset("/\\%?#;")


class PathRefused(ValueError):
    """The path could mean another one to somebody. The text says what is wrong and repeats nothing of it."""


def split_path(path: str) -> tuple[str, ...]:
    """Return the segments of `path`, still encoded.

    Raises: PathRefused unless it begins with "/", has one spelling, and no segment is empty or made of dots.
    """
    if not path.startswith("/") or len(path) > MAX_PATH_CHARACTERS:
        raise PathRefused(f"must begin with / and have at most {MAX_PATH_CHARACTERS} characters")
    segments = tuple(path[1:].split("/"))
    for segment in segments:
        if not segment:
            raise PathRefused("must not have an empty segment or end with /")
        if _SEGMENT.fullmatch(segment) is None:
            raise PathRefused("must be percent-encoded, without a query, a fragment, a semicolon or a backslash")
        if any(int(octet, 16) in _NEVER_ENCODED for octet in _ENCODED.findall(segment)):
            raise PathRefused("must not encode dots, slashes, control characters or what needs no encoding")
        _check_text(segment)
    return segments


def _check_text(segment: str) -> None:
    """Refuse a segment of dots, also of those that normalisation would make of other characters."""
    try:
        text = _ENCODED_OCTET.sub(lambda found: bytes([int(found[1], 16)]), segment.encode("ascii")).decode("utf-8")
    except UnicodeDecodeError:
        raise PathRefused("must be UTF-8 where it is percent-encoded") from None
    likely = unicodedata.normalize("NFKC", text)
    if not likely.strip(". ") or (text != likely and not _STRUCTURE.isdisjoint(likely)):
        raise PathRefused("must not have a segment of dots, or characters that turn into structure")


@dataclass(frozen=True, slots=True, kw_only=True)
class PathPattern:
    """What is open: a method and segments, of which "*" stands for exactly one. `surface` None: on every surface."""

    surface: str | None
    method: str
    segments: tuple[str, ...]

    def __str__(self) -> str:
        """Return the pattern without its surface."""
        return f"{self.method} /{'/'.join(self.segments)}"

    def fits(self, surface: str, method: str, segments: tuple[str, ...]) -> bool:
        """Tell whether a request, its path split by `split_path`, is one of those that are meant."""
        return (
            self.surface in (None, surface)
            and self.method == method
            and len(self.segments) == len(segments)
            and all(own in (ANY_SEGMENT, other) for own, other in zip(self.segments, segments, strict=True))
        )


def parse_pattern(text: str, surfaces: frozenset[str]) -> PathPattern:
    """Return the pattern of a text such as "GET /v1/wallet/*/balances" or "QUERY GET /v1/wallet/*/balances".

    Raises: PathRefused; its text repeats nothing of the pattern.
    """
    words = text.split()
    surface = words.pop(0) if len(words) == 3 else None
    if len(words) != 2 or (surface is not None and surface not in surfaces):
        known = ", ".join(sorted(surfaces))
        raise PathRefused(f"must be a method and a path, with one of {known} before them where only it is meant")
    method, path = words
    if method not in METHODS:
        raise PathRefused(f"must name one of {', '.join(METHODS)}")
    segments = split_path(path)
    if any(ANY_SEGMENT in segment and segment != ANY_SEGMENT for segment in segments):
        raise PathRefused("must use * for a whole segment only")
    return PathPattern(surface=surface, method=method, segments=segments)
