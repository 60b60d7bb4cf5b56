"""What the tests of the keys room share."""

from __future__ import annotations

from tests.fixtures_redis import redis_server

__all__ = ["redis_server"]
