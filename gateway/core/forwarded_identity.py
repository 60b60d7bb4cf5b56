"""The names of a client's certificate as a proxy passes them on in the header `x-forwarded-client-cert`.

Whether the proxy is to be believed is not decided here. Source: Envoy's documentation of the header.
"""

from __future__ import annotations

import re

_PAIR = re.compile(r'\s*([A-Za-z]+)=("(?:[^"\\]|\\.)*"|[^",;]*)\s*(;|,|$)')
MAX_CHARACTERS = 8192


def forwarded_names(header: str) -> tuple[str, ...]:
    """Return the SPIFFE id, then the DNS names in their order, of the last client in the header.

    The last one is the proxy's own client; what stands before it was said by others. Empty where nothing is named, or
    where the header cannot be read to its end: a name must not come out of the middle of something else.
    """
    if len(header) > MAX_CHARACTERS:
        return ()
    uris: list[str] = []
    names: list[str] = []
    place = 0
    while place < len(header):
        pair = _PAIR.match(header, place)
        if pair is None:
            return ()
        key, value, end = pair.groups()
        if value.startswith('"'):
            value = re.sub(r"\\(.)", r"\1", value[1:-1])
        if key.lower() == "uri":
            uris.append(value)
        elif key.lower() == "dns":
            names.append(value.lower())
        place = pair.end()
        if end == ",":
            uris, names = [], []  # another client follows
            if place >= len(header):
                return ()
    # A SPIFFE certificate has exactly one URI.
    spiffe = uris if len(uris) == 1 and uris[0].startswith("spiffe://") else []
    return (*spiffe, *names)
