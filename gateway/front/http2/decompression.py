"""Decompresses messages in slices, so that small ones that are large inside keep nobody else waiting."""

from __future__ import annotations

import asyncio

from gateway.errors import FieldFault, InvalidField
from gateway.front.http2.wire import Compressed, MessageReader, WireFault

SLICE_BYTES = 64 * 1024
"""Takes about a fifth of a millisecond."""


class Decompression:
    """Shared by the calls of a listener: of large messages one at a time, one slice a turn of the loop."""

    __slots__ = ("_one_at_a_time",)

    def __init__(self) -> None:
        self._one_at_a_time = asyncio.Lock()

    async def plain(self, message: Compressed, reader: MessageReader) -> bytes:
        """Return a message that `reader` has cut out. Raises: InvalidField."""
        try:
            small = _small(message, reader)
            if small is not None:
                return small
            whole: list[bytes] = []
            async with self._one_at_a_time:
                for piece in reader.plain(message, SLICE_BYTES):
                    whole.append(piece)
                    await asyncio.sleep(0)
            return b"".join(whole)
        except WireFault as broken:
            raise InvalidField([FieldFault(field="", description=str(broken))]) from None


def _small(message: Compressed, reader: MessageReader) -> bytes | None:
    """Return a message of less than a slice; None if it is larger. Nothing of it is kept: hundreds may wait."""
    if len(message) > SLICE_BYTES:
        return None
    slices = reader.plain(message, SLICE_BYTES)
    first = next(slices)
    return None if len(first) == SLICE_BYTES else b"".join((first, *slices))  # nothing follows, if it ends well
