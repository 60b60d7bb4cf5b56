"""Durable events: stored until Phoenix has them, in order per user and board."""
