"""Opens a live board through the worker of the group that owns it, so that a board has one socket to Phoenix.

The topic decides which worker owns a board, so nobody has to agree on it. Sharing is never a condition: if the owner
does not show the board in time, this worker opens a socket of its own, which lives as long as any socket does.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable
from pathlib import Path

from gateway.core.board import Frame, Topic
from gateway.streams.relay_messages import SILENT_AFTER_S, decode_message, encode_topic, read_message, write_message
from gateway.streams.upstream import Channel, ChannelClosed, OpenTopic

SUFFIX = ".boards"
"""Of the sockets on which workers show their boards: `NUMBER.START.boards`."""
_SHOWN_WITHIN_S = 3.0
"""The owner may have to open the board first."""
_BROKEN = (OSError, asyncio.IncompleteReadError, ValueError, TypeError)


class SharedTopics:
    """The `open_topic` of a worker among several."""

    def __init__(
        self, open_upstream: OpenTopic, folder: Path, number: int, workers: int, on_event: Callable[[str], None]
    ) -> None:
        """Args: `folder`: with a socket for each worker; `number`: of this one; `on_event`: called with `shared`."""
        self._open_upstream = open_upstream
        self._folder = folder
        self._number = number
        self._workers = workers
        self._on_event = on_event

    async def __call__(self, topic: Topic) -> Channel:
        """Open the board. Raises: as `open_upstream`."""
        owner = owner_of(topic, self._workers)
        if owner != self._number:
            for path in self._sockets_of(owner):
                channel = await _joined(path, topic)
                if channel is not None:
                    self._on_event("shared")
                    return channel
        return await self._open_upstream(topic)

    def _sockets_of(self, worker: int) -> list[Path]:
        """Return the newest first: during a roll, two processes have the same place."""
        return sorted(
            self._folder.glob(f"{worker}.*{SUFFIX}"), key=lambda path: int(path.name.split(".")[1]), reverse=True
        )


def owner_of(topic: Topic, workers: int) -> int:
    """Return the number of the worker that owns a board."""
    return zlib.crc32(encode_topic(topic)) % workers


async def _joined(path: Path, topic: Topic) -> Channel | None:
    """Return a channel to a worker that shows the board; None if it does not."""
    writer: asyncio.StreamWriter | None = None
    channel: _RelayChannel | None = None
    try:
        async with asyncio.timeout(_SHOWN_WITHIN_S):
            reader, writer = await asyncio.open_unix_connection(path)
            await write_message(writer, encode_topic(topic))
            channel = _RelayChannel(reader, writer, decode_message(await read_message(reader)))
    except (*_BROKEN, TimeoutError):
        return None
    finally:
        if channel is None and writer is not None:
            writer.close()
    return channel


class _RelayChannel:
    """The board as another worker shows it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, shown: Frame) -> None:
        self._reader = reader
        self._writer = writer
        self._shown: Frame | None = shown

    async def receive(self) -> Frame:
        if self._shown is not None:
            shown, self._shown = self._shown, None
            return shown
        try:
            async with asyncio.timeout(SILENT_AFTER_S):
                return decode_message(await read_message(self._reader))
        except TimeoutError:
            raise ChannelClosed(silent=True) from None
        except _BROKEN:
            raise ChannelClosed from None

    async def send(self, message: str) -> None:
        try:
            await write_message(self._writer, message.encode())
        except OSError:
            raise ChannelClosed from None

    async def close(self) -> None:
        self._writer.close()
