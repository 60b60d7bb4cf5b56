"""Identifies the caller: the policy's entry for the client certificate, the socket or the listener.

`call.grant` says what the caller may do; the Policy link checks it. In a stream, the caller is identified again for the
next message after each reload of the policy.
"""

from __future__ import annotations

from collections.abc import Callable

from gateway.actions.shared.call import Call, Peer
from gateway.core.forwarded_identity import forwarded_names
from gateway.core.rights import LOCAL_CALLER, Grant
from gateway.core.secret import Secret
from gateway.errors import NotAllowed
from gateway.interceptors.chain import ArrivalCheck, StreamCheck
from gateway.interceptors.policy import PolicyInForce

FORWARDED = "x-forwarded-client-cert"
UNLISTED = "unlisted:"
"""Precedes the name of a verified certificate that the policy does not list. No caller's name contains a colon."""
_MAX_NAME_CHARACTERS = 256


def caller_of(policy: PolicyInForce, trusted_proxies: frozenset[str]) -> Callable[[Peer, str], str]:
    """Return what tells callers apart before a call is let in: its caller's name, or what its certificate names first.

    It takes the peer and the header FORWARDED, "" for none, which counts only from a trusted proxy. It refuses nobody;
    Identity does.
    """

    def name(peer: Peer, forwarded: str) -> str:
        names = peer.names
        if not names:
            return peer.caller
        if forwarded and not trusted_proxies.isdisjoint(names):
            names = forwarded_names(forwarded) or names
        grant = policy.callers.named_by(names)
        return UNLISTED + names[0][:_MAX_NAME_CHARACTERS] if grant is None else grant.caller

    return name


class Identity(ArrivalCheck, StreamCheck):
    """Sets `call.caller` and `call.grant`."""

    def __init__(
        self,
        policy: PolicyInForce,
        *,
        certificates_required: bool,
        trusted_proxies: frozenset[str] = frozenset(),
        dev_token: Callable[[], Secret] | None = None,
    ) -> None:
        """Take the policy.

        Args: `trusted_proxies`: certificate names of proxies that forward the caller's certificate; `dev_token`:
        returns what a caller must send on a listener that does not identify callers.
        """
        self._policy = policy
        self._certificates_required = certificates_required
        self._trusted_proxies = trusted_proxies
        self._dev_token = dev_token

    def before(self, call: Call) -> None:
        """Identify the caller. Raises: NotAllowed."""
        self._identify(call)

    def on_message(self, call: Call) -> None:
        """Identify the caller again if the policy has changed. Raises: NotAllowed."""
        if self._policy.callers.by_name.get(call.caller) is not call.grant:
            self._identify(call)

    def _identify(self, call: Call) -> None:
        peer = call.peer
        if peer.names:
            grant = self._certified(peer.names, call)
        elif peer.caller:
            grant = self._known(peer.caller)
        elif self._certificates_required:
            raise NotAllowed("The client certificate names nobody. Issue one with a SPIFFE id or a DNS name.")
        else:
            if self._dev_token is not None:
                _check_token(call, self._dev_token())
            grant = self._known(LOCAL_CALLER)
        call.grant = grant
        call.caller = grant.caller

    def _certified(self, names: tuple[str, ...], call: Call) -> Grant:
        """Return the grant of a certificate; one that the policy does not list gets the methods open to everyone."""
        if not self._trusted_proxies.isdisjoint(names):
            header = call.metadata.get(FORWARDED, "")
            if not header and call.method in self._policy.callers.open_methods:
                # The proxy itself asks, such as for the health of a member of its cluster.
                return Grant(caller=UNLISTED + names[0], methods=self._policy.callers.open_methods)
            names = forwarded_names(header)
            if not names:
                raise NotAllowed(f"The proxy does not say for whom it calls. Have it set {FORWARDED}.")
        callers = self._policy.callers
        grant = callers.named_by(names)
        if grant is not None:
            return grant
        return Grant(caller=UNLISTED + names[0][:_MAX_NAME_CHARACTERS], methods=callers.open_methods)

    def _known(self, caller: str) -> Grant:
        grant = self._policy.callers.by_name.get(caller)
        if grant is None:
            raise NotAllowed("The policy has no caller for this listener. Call with a certificate, or by a socket.")
        return grant


def _check_token(call: Call, token: Secret) -> None:
    kind, _, shown = call.metadata.get("authorization", "").partition(" ")
    # `Secret` compares in constant time.
    if kind.lower() != "bearer" or not shown or Secret(shown.encode()) != token:
        raise NotAllowed("Show the development token: authorization: Bearer followed by GATEWAY_DEV_TOKEN.")
