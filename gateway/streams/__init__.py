"""Live boards: one upstream connection, many watchers. Knows no WebSocket library; it is given `open_topic`."""
