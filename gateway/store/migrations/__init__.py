"""Alembic's environment and the versions of the schema."""

HEAD = "0009"
"""The revision that this code needs. Revisions are consecutive numbers."""
