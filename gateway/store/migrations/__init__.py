"""Alembic's environment and the versions of the evidence's schema."""
