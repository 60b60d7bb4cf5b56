"""Whom a verified client certificate names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.actions.shared.call import Peer


def peer_of_certificate(certificate: Mapping[str, Any]) -> Peer:
    """Return the names of a verified client certificate: its one SPIFFE id first, then its DNS names."""
    names = certificate.get("subjectAltName", ())
    uris = [value for kind, value in names if kind == "URI"]
    spiffe = [uri for uri in uris if uri.startswith("spiffe://")] if len(uris) == 1 else []
    dns = [value.lower() for kind, value in names if kind == "DNS" and "*" not in value]
    return Peer(address="tls", names=(*spiffe, *dns))
