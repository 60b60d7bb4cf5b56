"""Fixture: a real redis-server for one test."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.redis_process import RedisMissing, RedisProcess


@pytest.fixture
def redis_server() -> Iterator[RedisProcess]:
    """A running redis-server; ended with the test."""
    # A short path: a Unix socket's name holds about 100 bytes, less than pytest's own directories take.
    with tempfile.TemporaryDirectory(prefix="pgw-redis-") as directory:
        try:
            server = RedisProcess(Path(directory))
        except RedisMissing as missing:
            pytest.skip(str(missing))
        server.start()
        try:
            yield server
        finally:
            server.stop()
