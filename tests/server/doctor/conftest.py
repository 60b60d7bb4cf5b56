"""Real stores for the doctor's tests."""

from __future__ import annotations

from tests.fixtures_postgres import postgres_server, postgres_url
from tests.fixtures_redis import redis_server

__all__ = ["postgres_server", "postgres_url", "redis_server"]
