"""Finds out who looks at the console: the caller of the policy whose certificate, or machine, the request comes from.

On a port with TLS it is the caller of the client certificate. On a port without TLS, which only this machine or its pod
can reach, it is the caller `console` of the policy; a development gateway without a policy lets everyone in as `local`,
with GATEWAY_DEV_TOKEN as the password where that is set.
"""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Callable
from typing import Any

from aiohttp import web

from gateway.actions.shared.call import Peer
from gateway.console.calls import Visitor
from gateway.core.rights import LOCAL_CALLER, Callers, Grant
from gateway.core.secret import Secret
from gateway.front.certificates import peer_of_certificate

CALLER = "console"


class Visitors:
    """Identifies visitors by the policy in force."""

    def __init__(
        self, callers: Callable[[], Callers], *, has_tls: bool, dev_token: Callable[[], Secret] | None = None
    ) -> None:
        """Args: `dev_token`: what a visitor of a development gateway gives as a password; any user name."""
        self._callers = callers
        self.has_tls = has_tls
        self._dev_token = dev_token

    def of(self, request: web.BaseRequest) -> tuple[Visitor, Grant] | None:
        """Return the visitor and its rights; None for whoever may not look."""
        callers = self._callers()
        if self.has_tls:
            peer = _peer(request)
            grant = callers.named_by(peer.names) if peer.names else None
            return None if grant is None else (Visitor(peer=peer, metadata={}), grant)
        if not _is_of_this_machine(request):
            return None
        grant = callers.by_name.get(CALLER)
        if grant is not None:
            return Visitor(peer=Peer(address="", caller=CALLER), metadata={}), grant
        grant = callers.by_name.get(LOCAL_CALLER)
        if grant is None:
            return None
        if self._dev_token is None:
            return Visitor(peer=Peer(address=""), metadata={}), grant
        password = _password(request)
        if not password or Secret(password.encode()) != self._dev_token():  # compares in constant time
            return None
        return Visitor(peer=Peer(address=""), metadata={"authorization": f"Bearer {password}"}), grant

    def asks_password(self, request: web.BaseRequest) -> bool:
        """Whether a visitor is asked for a password: only on a development gateway."""
        if self.has_tls or self._dev_token is None or not _is_of_this_machine(request):
            return False
        callers = self._callers().by_name
        return CALLER not in callers and LOCAL_CALLER in callers


def _peer(request: web.BaseRequest) -> Peer:
    transport = request.transport
    certificate: Any = None if transport is None else transport.get_extra_info("peercert")
    return peer_of_certificate(certificate or {})


def _is_of_this_machine(request: web.BaseRequest) -> bool:
    """Whether the browser asked for this machine: a foreign name that resolves to it is another site's."""
    host = request.headers.get("Host", "")
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    name = name.removeprefix("[").removesuffix("]")
    if name in ("localhost", ""):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _password(request: web.BaseRequest) -> str:
    kind, _, coded = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() != "basic":
        return ""
    try:
        return base64.b64decode(coded, validate=True).decode().partition(":")[2]
    except ValueError:
        return ""
