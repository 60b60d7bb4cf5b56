"""Live boards: one upstream connection, many watchers. It uses no WebSocket library; it gets `open_topic`."""
