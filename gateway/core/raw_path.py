"""Check the paths that callers send to Phoenix: accept only paths that every proxy and server reads the same way.

Proxies and servers differ in how they treat "..", "//", encoded slashes and ";". With such a path, the gateway could
allow one resource and Phoenix could serve another. Patterns say which paths are open; the actions decide who may call.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

MAX_PATH_CHARACTERS = 2048
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
ANY_SEGMENT = "*"
SURFACES = frozenset({"INGESTION", "QUERY", "ADMIN", "OPERATOR"})
"""Words that may come before a pattern."""

_SEGMENT = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,=:@-]|%[0-9A-Fa-f]{2})+")
_ENCODED = re.compile(r"%([0-9A-Fa-f]{2})")
_ENCODED_OCTET = re.compile(rb"%([0-9A-Fa-f]{2})")
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_NEVER_ENCODED = _UNRESERVED | frozenset(b"/\\%?#;") | frozenset(range(0x20)) | {0x7F}
"""Octets that must not be percent-encoded: unreserved characters, and characters that may be path structure."""
_STRUCTURE = frozenset("/\\%?#;")


class PathRefused(ValueError):
    """A server could read the path in another way. The message says what is wrong and does not repeat the path."""


def split_path(path: str) -> tuple[str, ...]:
    """Return the segments of `path`, still encoded.

    Raises: PathRefused unless the path begins with "/", has one spelling, and has no empty segment or segment of dots.
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
    """Refuse a segment of dots, also of characters that Unicode normalisation turns into dots."""
    try:
        text = _ENCODED_OCTET.sub(lambda found: bytes([int(found[1], 16)]), segment.encode("ascii")).decode("utf-8")
    except UnicodeDecodeError:
        raise PathRefused("must be UTF-8 where it is percent-encoded") from None
    likely = unicodedata.normalize("NFKC", text)
    if not likely.strip(". ") or (text != likely and not _STRUCTURE.isdisjoint(likely)):
        raise PathRefused("must not have a segment of dots, or characters that turn into structure")


@dataclass(frozen=True, slots=True, kw_only=True)
class PathPattern:
    """An open path: a method and segments; "*" matches exactly one segment. `surface` None: on every surface."""

    surface: str | None
    method: str
    segments: tuple[str, ...]

    def __str__(self) -> str:
        """Return the pattern without its surface."""
        return f"{self.method} /{'/'.join(self.segments)}"

    def fits(self, surface: str, method: str, segments: tuple[str, ...]) -> bool:
        """Tell whether the pattern matches a request whose path was split by `split_path`."""
        return (
            self.surface in (None, surface)
            and self.method == method
            and len(self.segments) == len(segments)
            and all(own in (ANY_SEGMENT, other) for own, other in zip(self.segments, segments, strict=True))
        )


def parse_pattern(text: str, surfaces: frozenset[str]) -> PathPattern:
    """Parse a text such as "GET /v1/wallet/*/balances" or "QUERY GET /v1/wallet/*/balances".

    Raises: PathRefused; the message does not repeat the pattern.
    """
    words = text.split()
    surface = words.pop(0) if len(words) == 3 else None
    if len(words) != 2 or (surface is not None and surface not in surfaces):
        known = ", ".join(sorted(surfaces))
        raise PathRefused(f"must be a method and a path, optionally with one of {known} before them")
    method, path = words
    if method not in METHODS:
        raise PathRefused(f"must name one of {', '.join(METHODS)}")
    segments = split_path(path)
    if any(ANY_SEGMENT in segment and segment != ANY_SEGMENT for segment in segments):
        raise PathRefused("must use * for a whole segment only")
    return PathPattern(surface=surface, method=method, segments=segments)
