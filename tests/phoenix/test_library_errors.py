"""Errors that libraries raise outside their base classes stop at this room, as what they mean for a request."""

from __future__ import annotations

import ssl

import pytest

from gateway.errors import PhoenixUnavailable
from gateway.phoenix.auth.socket import Opening
from gateway.phoenix.gamification.realtime import RealtimeClient
from gateway.phoenix.http_types import NotSent
from gateway.phoenix.transport import Transport
from tests.phoenix.transport_requests import CLOCK, failure_of, get

NO_NAME = f"{'a' * 64}.example"
"""No label of a name is so long. Looking it up raises UnicodeError, which is no OSError."""


async def test_a_host_name_that_cannot_be_encoded_was_not_sent_to(transport: Transport) -> None:
    """The transport says that nothing left."""
    assert type(await failure_of(transport, get(f"http://{NO_NAME}"))) is NotSent


async def test_nor_is_it_watched() -> None:
    """The live socket is not available."""
    client = RealtimeClient(trust=ssl.create_default_context, clock=CLOCK)
    with pytest.raises(PhoenixUnavailable):
        await client.open(f"ws://{NO_NAME}", Opening(path="/ws", query="", headers={}))
    await client.close()
