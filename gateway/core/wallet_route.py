"""Which of the three routes a wallet webhook came to. The route is not signed: wallet_body.py binds the operation.

Source: prediction.md 4.1; RFC 3986, 6.2.2 (which paths are equivalent).
"""

from __future__ import annotations

import re

from gateway.core.wallet_headers import HeaderAnomaly
from gateway.core.wallet_operation import OperationKind

# Longer suffixes first.
_ROUTES: tuple[tuple[tuple[str, ...], OperationKind], ...] = (
    (("wallet", "transactions", "status"), OperationKind.PROBE),
    (("wallet", "transactions"), OperationKind.MOVE),
    (("wallet", "balance"), OperationKind.BALANCE),
)
_ENCODED = re.compile("%([2-7][0-9A-Fa-f])")
_PLAIN = {f"/{'/'.join(suffix)}": kind for suffix, kind in _ROUTES}


def find_route(method: str, path: str, named: OperationKind | None = None) -> OperationKind | None:
    """Return the route of a call, or None if it is none of the three or the method is not POST.

    Args: `path` as received, with any prefix; the query, empty and dot segments, and percent-encoded letters make no
    difference. `named`: the route that the wallet names; then the path is not looked at.
    """
    if method != "POST" and not (method.isascii() and method.upper() == "POST"):
        return None
    if named is not None:
        return named
    plain = _PLAIN.get(path)
    if plain is not None:
        return plain
    segments = _segments(path)
    for suffix, kind in _ROUTES:
        if segments[-len(suffix) :] == suffix:
            return kind
    return None


def route_anomalies(method: str, path: str) -> frozenset[HeaderAnomaly]:
    """Return what is unusual about method and path."""
    if method == "POST" and path in _PLAIN:
        return frozenset()
    found = set()
    if method != "POST" and method.upper() == "POST":
        found.add(HeaderAnomaly.METHOD)
    route, _, query = path.partition("?")
    if query:
        found.add(HeaderAnomaly.QUERY)
    if route and "/" + "/".join(_segments(path)) != route:
        found.add(HeaderAnomaly.PATH)
    return frozenset(found)


def _segments(path: str) -> tuple[str, ...]:
    """Return the path's segments: decoded, without empty ones, dots resolved."""
    kept: list[str] = []
    for raw in path.partition("?")[0].partition("#")[0].split("/"):
        segment = _ENCODED.sub(lambda found: chr(int(found[1], 16)), raw)
        if segment == "..":
            del kept[-1:]
        elif segment not in ("", "."):
            kept.append(segment)
    return tuple(kept)
