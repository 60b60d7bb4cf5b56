"""The web console on the admin port: pages for people, over the same methods that callers have."""
