"""Stands before the transport and hears when Phoenix rejects credentials: the keys are tried before the next try.

The courier sends a rejected read or event once more, at once. Where a new key waits for its time, or an old one is
still held, that second try then goes out with the one that Phoenix takes: a Phoenix that changes a secret a moment
before or after us, with no overlap at all, costs no call. Source: issue 8, point 3.
"""

from __future__ import annotations

import asyncio
import contextlib

from gateway.keys.own.keyring import Keyring
from gateway.phoenix.http_types import DEFAULT_MAX_ANSWER_BYTES, Answer, Request, Sender
from gateway.resilience.clock import Clock
from gateway.resilience.deadline import Deadline


class UnauthorizedObserver:
    """A Sender that tells the keyring of a 401 and waits, within the call's time, until it has looked into it."""

    def __init__(self, sender: Sender, keyring: Keyring, clock: Clock) -> None:
        self._sender = sender
        self._keyring = keyring
        self._clock = clock

    async def send(
        self, request: Request, deadline: Deadline, max_answer_bytes: int = DEFAULT_MAX_ANSWER_BYTES
    ) -> Answer:
        """Send once; see Sender."""
        sent_at = self._clock.monotonic()
        answer = await self._sender.send(request, deadline, max_answer_bytes)
        if answer.status == 401:
            with contextlib.suppress(TimeoutError):  # the answer stands, whatever the keys come to
                async with asyncio.timeout(max(0.0, deadline.remaining())):
                    await self._keyring.on_unauthorized(sent_at)
        return answer
