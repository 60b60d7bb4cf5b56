"""Queues on both databases: every test that takes `make_queue` runs on SQLite and on PostgreSQL. And a path for one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Protocol

import pytest

from gateway.outbox.store import EventQueue
from gateway.store.database import Database
from gateway.store.group_commit import CommitSettings


class MakeQueue(Protocol):
    """Opens one more queue on the test's database, started: another gateway."""

    def __call__(self, settings: CommitSettings | None = None) -> EventQueue: ...


@pytest.fixture
async def make_queue(make_database: Callable[[], Database]) -> AsyncIterator[MakeQueue]:
    """Opens queues, and stops them and their databases with the test."""
    opened: list[tuple[EventQueue, Database]] = []

    def make(settings: CommitSettings | None = None) -> EventQueue:
        database = make_database()
        queue = EventQueue(database, settings=settings)
        opened.append((queue, database))
        queue.start()
        return queue

    yield make
    for queue, database in opened:
        await queue.stop()
        await database.stop()


@pytest.fixture
async def queue(make_queue: MakeQueue) -> EventQueue:
    """One queue."""
    return make_queue()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the store is."""
    return tmp_path / "data" / "evidence.sqlite3"
