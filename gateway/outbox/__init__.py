"""Durable events: kept until Phoenix has them, in order per user and board."""
