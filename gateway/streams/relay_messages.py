"""What two workers say to each other about a live board, over a Unix socket of their group.

The follower names the topic, then sends what it would send to Phoenix: `configure` and `request_page`. The owner sends
whole pages. Each message is JSON after its length in four bytes; an empty one says that the owner lives.
"""

from __future__ import annotations

import asyncio

import orjson

from gateway.core.board import Frame, FullPage, Heartbeat, Topic
from gateway.core.types import TenantId
from gateway.core.wire import Entry, Page

ALIVE = b""
CHECK_EVERY_S = 5.0
"""How often the owner says that it lives, at least."""
SILENT_AFTER_S = 15.0
"""An owner that says nothing for so long is stuck."""
_LENGTH_BYTES = 4
_LONGEST_BYTES = 32 * 1024 * 1024


async def read_message(reader: asyncio.StreamReader) -> bytes:
    """Return the next message. Raises: OSError, asyncio.IncompleteReadError at the end."""
    length = int.from_bytes(await reader.readexactly(_LENGTH_BYTES), "big")
    if length > _LONGEST_BYTES:
        raise ConnectionError("a message between workers is too long")
    return await reader.readexactly(length)


async def write_message(writer: asyncio.StreamWriter, message: bytes) -> None:
    """Write a message, and wait while the other side reads slowly. Raises: OSError."""
    writer.write(len(message).to_bytes(_LENGTH_BYTES, "big") + message)
    await writer.drain()


def encode_topic(topic: Topic) -> bytes:
    """Return the first message of a follower."""
    return orjson.dumps(list(topic))


def decode_topic(message: bytes) -> Topic:
    """Return the topic that a follower names. Raises: ValueError, TypeError."""
    tenant_id, leaderboard_id, window_key = orjson.loads(message)
    return Topic(TenantId(tenant_id), leaderboard_id, window_key)


def encode_page(page: Page, *, answers: bool) -> bytes:
    """Return a page. `answers`: it answers the oldest request, and is not older than that."""
    entries = [(entry.rank, entry.user_id, entry.score, entry.extra) for entry in page.entries]
    return orjson.dumps((answers, page.window_key, page.total, entries))


def decode_message(message: bytes) -> Frame:
    """Return what the owner says. Raises: ValueError, TypeError."""
    if message == ALIVE:
        return Heartbeat()
    answers, window_key, total, rows = orjson.loads(message)
    entries = tuple(Entry(rank=rank, user_id=user, score=score, extra=extra) for rank, user, score, extra in rows)
    return FullPage(page=Page(window_key=window_key, entries=entries, total=total), answers=answers)
