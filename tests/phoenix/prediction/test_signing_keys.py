"""Fetching the platform key: once, fresh, small."""

import pytest

from gateway import errors
from gateway.phoenix.prediction.signing_keys import MAX_KEY_BYTES, SigningKeysClient
from tests.phoenix.fake_phoenix import CLOCK, fake_phoenix
from tests.phoenix.raw_server import Peer, raw_server

ROUTE = "GET /.well-known/signing-key.pem"


async def test_the_bytes_come_back_as_they_are() -> None:
    """Unread: the keys room judges them. No cache on the way is to answer."""
    async with fake_phoenix(**{ROUTE: [(200, b"-----BEGIN PUBLIC KEY-----\n")]}) as phoenix:
        client = SigningKeysClient(sender=phoenix.transport, base_url=phoenix.url, clock=CLOCK)
        assert await client.fetch_signing_key(5.0) == b"-----BEGIN PUBLIC KEY-----\n"
        assert phoenix.seen[0].headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        ((500, b""), errors.PhoenixUnavailable),
        ((401, b""), errors.PhoenixRejectedCredentials),
        ((404, b""), errors.PhoenixNotFound),
        ((302, b""), errors.PhoenixAnswerUnreadable),
        ((200, b"x" * (MAX_KEY_BYTES + 1)), errors.PhoenixAnswerUnreadable),
    ],
)
async def test_a_failed_fetch_is_one_fetch(answer: tuple[int, bytes], fault: type[errors.GatewayError]) -> None:
    """The caller keeps the cooldown between fetches, so there is no retry here."""
    async with fake_phoenix(**{ROUTE: [answer]}) as phoenix:
        client = SigningKeysClient(sender=phoenix.transport, base_url=phoenix.url, clock=CLOCK)
        with pytest.raises(fault):
            await client.fetch_signing_key(5.0)
        assert len(phoenix.seen) == 1


async def test_a_hanging_host_ends_with_the_time_given() -> None:
    """The wallet's own deadline is near."""
    async with raw_server(Peer.until_gone) as server, fake_phoenix() as phoenix:
        client = SigningKeysClient(sender=phoenix.transport, base_url=server.url, clock=CLOCK)
        with pytest.raises(errors.PhoenixTimeout):
            await client.fetch_signing_key(0.2)
