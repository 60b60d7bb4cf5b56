"""Who calls: the name in the client certificate, or the local machine where none is asked for.

Policy decides what a caller may do; this link only names him.
"""

from __future__ import annotations

from gateway.actions.call import Call
from gateway.errors import NotAllowed
from gateway.interceptors.chain import Link

LOCAL_CALLER = "local"
"""Name of every caller on a loopback or Unix listener without client certificates."""


class Identity(Link):
    """Sets `call.caller`."""

    def __init__(self, *, certificates_required: bool) -> None:
        self._certificates_required = certificates_required

    async def before(self, call: Call) -> None:
        """Take the first name of the verified certificate; without one, only a local caller passes."""
        if call.peer.names:
            call.caller = call.peer.names[0]
        elif self._certificates_required:
            raise NotAllowed("The client certificate names nobody. Issue one with a SPIFFE id or a DNS name.")
        else:
            call.caller = LOCAL_CALLER
        call.facts["caller"] = call.caller
