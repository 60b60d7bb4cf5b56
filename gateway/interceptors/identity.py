"""Who calls: the caller of the policy that the client certificate, the socket or the listener stands for.

What a caller may do comes with him as `call.grant`; whether that covers the method is the next link's matter. Found out
anew for each message of a stream once the policy was read again. Source: issue 8, point 1.
"""

from __future__ import annotations

from gateway.actions.shared.call import Call
from gateway.core.forwarded_identity import forwarded_names
from gateway.core.rights import LOCAL_CALLER, Grant
from gateway.core.secret import Secret
from gateway.errors import NotAllowed
from gateway.interceptors.chain import Link
from gateway.interceptors.policy import PolicyInForce

FORWARDED = "x-forwarded-client-cert"
UNLISTED = "unlisted:"
"""Before the name of a verified certificate that the policy does not know; no caller's name has a colon."""
_MAX_NAME_CHARACTERS = 256


class Identity(Link):
    """Sets `call.caller` and `call.grant`."""

    def __init__(
        self,
        policy: PolicyInForce,
        *,
        certificates_required: bool,
        trusted_proxies: frozenset[str] = frozenset(),
        dev_token: Secret | None = None,
    ) -> None:
        """Args: `dev_token`: what callers of a listener that tells nothing of them must show."""
        self._policy = policy
        self._certificates_required = certificates_required
        self._trusted_proxies = trusted_proxies
        self._dev_token = dev_token

    def before(self, call: Call) -> None:
        """Find out who calls. Raises: NotAllowed."""
        self._find_out(call)

    def again(self, call: Call) -> None:
        """Find out again, before each message and answer of a stream, if the policy changed. Raises: NotAllowed."""
        if self._policy.callers.by_name.get(call.caller) is not call.grant:
            self._find_out(call)

    def _find_out(self, call: Call) -> None:
        peer = call.peer
        if peer.names:
            grant = self._certified(peer.names, call)
        elif peer.caller:
            grant = self._known(peer.caller)
        elif self._certificates_required:
            raise NotAllowed("The client certificate names nobody. Issue one with a SPIFFE id or a DNS name.")
        else:
            if self._dev_token is not None:
                _check_token(call, self._dev_token)
            grant = self._known(LOCAL_CALLER)
        call.grant = grant
        call.caller = grant.caller
        call.facts["caller"] = grant.caller

    def _certified(self, names: tuple[str, ...], call: Call) -> Grant:
        """Return what the certificate's caller may do; for one that the policy does not know, what is open to all."""
        if not self._trusted_proxies.isdisjoint(names):
            names = forwarded_names(call.metadata.get(FORWARDED, ""))
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
    # Compared in constant time, as Secret does.
    if kind.lower() != "bearer" or not shown or Secret(shown.encode()) != token:
        raise NotAllowed("Show the development token: authorization: Bearer followed by GATEWAY_DEV_TOKEN.")
