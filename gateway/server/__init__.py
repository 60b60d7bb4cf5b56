"""Where the rooms meet: the gateway put together, started, drained and stopped."""
