"""Reports each 401 of Phoenix to the owner of the keys, before the request is tried again.

RetryingSender sends a request with rejected credentials once more, at once, if the retry budget allows it. If the owner
of the keys has found another version that Phoenix accepts by then, the second try uses it, and the answer says so: the
budget is not asked. So a secret that Phoenix replaces after us costs no call, without any time in which both are valid.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import Protocol

from gateway.phoenix.http_types import DEFAULT_MAX_ANSWER_BYTES, Answer, Request, Sender
from gateway.resilience.clock import Clock
from gateway.resilience.deadline import Deadline


class KeyReview(Protocol):
    """Looks for a key that Phoenix accepts. `gateway.keys.own.keyring.Keyring` is one."""

    async def on_unauthorized(self, sent_at: float) -> bool:
        """Review the keys. Returns, when they were tried, whether one has changed since `sent_at` (monotonic)."""


class UnauthorizedObserver:
    """A Sender that reports a 401 and waits for the review, within the call's deadline."""

    def __init__(self, sender: Sender, keys: KeyReview, clock: Clock) -> None:
        self._sender = sender
        self._keys = keys
        self._clock = clock

    async def send(
        self, request: Request, deadline: Deadline, max_answer_bytes: int = DEFAULT_MAX_ANSWER_BYTES
    ) -> Answer:
        """Send once; see Sender."""
        sent_at = self._clock.monotonic()
        answer = await self._sender.send(request, deadline, max_answer_bytes)
        if answer.status == 401:
            with contextlib.suppress(TimeoutError):  # the review changes no answer
                async with asyncio.timeout(max(0.0, deadline.remaining())):
                    if await self._keys.on_unauthorized(sent_at):
                        return replace(answer, keys_changed=True)
        return answer
