"""Read the names of a client certificate from the header `x-forwarded-client-cert` that a proxy sets.

Envoy writes the names (`URI=`, `DNS=`). A proxy that knows no names, such as nginx, can send the whole certificate that
it has verified (`Cert=`, URL-encoded PEM). The caller of this module decides whether to trust the proxy. Source:
Envoy's documentation of the header.
"""

from __future__ import annotations

import re

from gateway.core.certificate import CertificateRefused, alternative_names

_PAIR = re.compile(r'\s*([A-Za-z]+)=("(?:[^"\\]|\\.)*"|[^",;]*)\s*(;|,|$)')
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")
MAX_CHARACTERS = 12 * 1024
"""A certificate is longer than its names; all metadata of a call together has 16 KiB."""


def forwarded_names(header: str) -> tuple[str, ...]:
    """Return the SPIFFE id and then the DNS names, in their order, of the last client in the header.

    The last entry is the client of our proxy; the entries before it come from others. Returns () if the header names
    nothing, or if it cannot be parsed to its end: a name must not come from the middle of another value.
    """
    if len(header) > MAX_CHARACTERS:
        return ()
    uris: list[str] = []
    names: list[str] = []
    certificate = ""
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
        elif key.lower() == "cert":
            certificate = value
        place = pair.end()
        if end == ",":
            uris, names, certificate = [], [], ""  # another client follows
            if place >= len(header):
                return ()
    if certificate and not uris and not names:
        try:
            uris, names = alternative_names(_ESCAPE.sub(_unescaped, certificate.encode()))
        except CertificateRefused:
            return ()
    # A SPIFFE certificate has exactly one URI.
    spiffe = uris if len(uris) == 1 and uris[0].startswith("spiffe://") else []
    return (*spiffe, *names)


def _unescaped(escape: re.Match[bytes]) -> bytes:
    return bytes([int(escape[1], 16)])
