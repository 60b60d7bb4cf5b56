"""How the opening of a board's live socket is authenticated. `gamification/realtime.py` opens it.

Source: gamification.md 3.1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import quote

from gateway.core.canonical import encode_segment
from gateway.core.types import TenantId, UnixSeconds
from gateway.phoenix.auth.authorize import tenant_jwt
from gateway.phoenix.auth.modes import SocketAuth
from gateway.phoenix.auth.signer import Signer
from gateway.resilience.clock import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """The path, the query as sent, and the headers that authenticate one connection. Holds credentials."""

    path: str
    query: str = field(default="", repr=False)
    headers: dict[str, str] = field(default_factory=dict, repr=False)


AuthorizeSocket = Callable[[str], Opening]
"""Takes a board's id; returns its opening, with a new timestamp each time. Raises: KeyUnknown."""


def authorize_socket(mode: SocketAuth, signer: Signer, tenant_id: TenantId, clock: Clock) -> AuthorizeSocket:
    """Return how the tenant's live sockets are opened."""
    if mode is SocketAuth.BEARER:
        authorize = tenant_jwt(signer, tenant_id, clock)

        def with_token(leaderboard_id: str) -> Opening:
            path = f"/v1/leaderboards/{encode_segment(leaderboard_id)}/ws"  # the token names the tenant
            return Opening(path=path, headers=dict(authorize("GET", path, b"")))

        return with_token

    def with_signature(leaderboard_id: str) -> Opening:
        path = f"/v1/leaderboards/{encode_segment(tenant_id)}/{encode_segment(leaderboard_id)}/ws"
        now = UnixSeconds(int(clock.now()))
        signature = signer.sign_socket(tenant_id, path, now)
        return Opening(path=path, query=f"timestamp={now}&signature={quote(signature, safe='')}")

    return with_signature
