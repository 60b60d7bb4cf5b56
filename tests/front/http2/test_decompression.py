"""Messages that are large once they are decompressed, beside others."""

from __future__ import annotations

import asyncio
import gzip

import pytest

from gateway.errors import InvalidField
from gateway.front.http2.decompression import SLICE_BYTES, Decompression
from gateway.front.http2.wire import Compressed, MessageReader

LIMIT = 4 * 1024 * 1024
READER = MessageReader("gzip", LIMIT)


async def test_a_large_message_gives_others_a_turn_after_each_slice() -> None:
    """A second large one waits for the first; a small one is there at once."""
    decompression, done = Decompression(), list[str]()
    packed = Compressed(gzip.compress(bytes(8 * SLICE_BYTES)))

    async def read(name: str) -> None:
        assert bytes(8 * SLICE_BYTES) == await decompression.plain(packed, READER)
        done.append(name)

    tasks = [asyncio.create_task(read(name)) for name in ("first", "second")]
    turns = 0
    while not done:
        turns += 1
        await asyncio.sleep(0)
        small = decompression.plain(Compressed(gzip.compress(b"small")), READER)
        with pytest.raises(StopIteration) as ended:
            small.send(None)
        assert b"small" == ended.value.value
    assert turns >= 7
    await asyncio.gather(*tasks)
    assert ["first", "second"] == done


async def test_a_message_that_does_not_compress_is_read() -> None:
    """It is as long before as after."""
    message = b"".join(number.to_bytes(4, "big") for number in range(60_000))
    packed = Compressed(gzip.compress(message, compresslevel=0))
    assert message == await Decompression().plain(packed, READER)


@pytest.mark.parametrize(
    "packed",
    [gzip.compress(bytes(LIMIT + 1)), gzip.compress(bytes(1000))[:-1], gzip.compress(bytes(3 * SLICE_BYTES))[:-1]],
    ids=["too large", "cut", "cut late"],
)
async def test_what_cannot_be_decompressed_is_refused_and_holds_up_nothing(packed: bytes) -> None:
    """The next large message is read."""
    decompression = Decompression()
    with pytest.raises(InvalidField):
        await decompression.plain(Compressed(packed), READER)
    large = bytes(2 * SLICE_BYTES)
    assert large == await decompression.plain(Compressed(gzip.compress(large)), READER)


async def test_a_caller_that_leaves_holds_up_nothing() -> None:
    """The next one has its turn."""
    decompression, large = Decompression(), bytes(8 * SLICE_BYTES)
    leaving = asyncio.create_task(decompression.plain(Compressed(gzip.compress(large)), READER))
    await asyncio.sleep(0)
    leaving.cancel()
    assert large == await decompression.plain(Compressed(gzip.compress(large)), READER)
