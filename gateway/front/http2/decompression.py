"""Decompresses messages in slices, so that small ones that are large inside keep nobody else waiting."""

from __future__ import annotations

import asyncio

from gateway.errors import FieldFault, InvalidField
from gateway.front.http2.wire import Compressed, MessageReader, WireFault

SLICE_BYTES = 64 * 1024
"""Takes about a fifth of a millisecond."""


class Decompression:
    """Shared by the calls of a listener: beyond a first slice, one message at a time, one slice a turn of the loop."""

    __slots__ = ("_one_at_a_time",)

    def __init__(self) -> None:
        self._one_at_a_time = asyncio.Lock()

    async def plain(self, message: Compressed, reader: MessageReader) -> bytes:
        """Return a message that `reader` has cut out. Raises: InvalidField."""
        slices = reader.plain(message, SLICE_BYTES)
        try:
            whole = [next(slices)]
            if len(message) <= SLICE_BYTES and len(whole[0]) < SLICE_BYTES:
                whole += slices  # none, if it ends well
            else:
                async with self._one_at_a_time:
                    for piece in slices:
                        whole.append(piece)
                        await asyncio.sleep(0)
        except WireFault as broken:
            raise InvalidField([FieldFault(field="", description=str(broken))]) from None
        return b"".join(whole)
