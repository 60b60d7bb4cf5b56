"""Redis as a cache that replicas share: the client, sealed entries, reads and event ids."""
