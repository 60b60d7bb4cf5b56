"""The hosts whose connections have just been ended for breaking HTTP/2: their next connections are read later.

A client that is cut off connects again and breaks the protocol again. Each connection costs the loop an accept, a TLS
handshake and what is read before the end, which others would wait for. So a new connection of such a host is accepted,
and nothing is read of it for a moment. Open connections of the host go on. Clients behind one NAT or balancer are one
host: a broken one among them delays a new connection of the others by this moment, and no call on an open one.

Broken means that this side ended the connection for what came: PROTOCOL_ERROR, ENHANCE_YOUR_CALM and their like, also
what is no HTTP/2 at all. A client that leaves, says nothing, fails its TLS handshake or is timed out breaks nothing:
probes of balancers do so every second. Pure: time is an argument.
"""

from __future__ import annotations

from ipaddress import IPv6Address

MOST = 1024


def host_of(address: object) -> str:
    """Return whose address of a socket this is: an IPv4 address, the /64 of an IPv6 address, "" for a Unix socket."""
    if not isinstance(address, tuple):
        return ""
    text = str(address[0])
    if ":" not in text:
        return text
    parsed = IPv6Address(text)
    return str(parsed.ipv4_mapped or int(parsed) >> 64)


class BrokenHosts:
    """When a connection of each host was last broken. Holds the latest `MOST` of them."""

    def __init__(self, wait_s: float) -> None:
        """Args: `wait_s`: how long a new connection waits, if its host broke one within as long; 0: none waits."""
        self._wait_s = wait_s
        self._broke_at: dict[str, float] = {}

    def note(self, host: str, now: float) -> None:
        """A connection of this host is ended for what came."""
        self._broke_at.pop(host, None)  # to the end of the order
        self._broke_at[host] = now
        if len(self._broke_at) > MOST:
            del self._broke_at[next(iter(self._broke_at))]

    def wait_s(self, host: str, now: float) -> float:
        """Return how long a new connection of this host has to wait."""
        broke_at = self._broke_at.get(host)
        return self._wait_s if broke_at is not None and now - broke_at < self._wait_s else 0.0
