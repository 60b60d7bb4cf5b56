"""How callers reach the gateway: addresses, private sockets, certificates, limits of a connection."""
