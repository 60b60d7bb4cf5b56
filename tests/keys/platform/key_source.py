"""Replaces Phoenix's well-known route: a function that counts calls and answers as the test wants."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from gateway.core.ed25519 import SigningKey, generate_signing_key


async def until(condition: Callable[[], bool], within_s: float = 5.0) -> None:
    """Wait until the condition holds, and fail if it does not in time."""
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, "the condition did not come true in time"
        await asyncio.sleep(0.005)


def new_key() -> SigningKey:
    """A key pair of Phoenix's."""
    return generate_signing_key()[0]


class KeySource:
    """Answers with `answer` (bytes, or an exception to raise); `gate` holds answers back while it is closed."""

    def __init__(self, key: SigningKey) -> None:
        """Serve this key's public half."""
        self.answer: bytes | Exception = key.public.spki_pem
        self.began: list[float] = []
        self.gate = asyncio.Event()
        self.gate.set()

    def serve(self, key: SigningKey) -> None:
        """Rotate to this key."""
        self.answer = key.public.spki_pem

    async def fetch(self, timeout_s: float) -> bytes:
        """The fetch that PlatformKeys is given. What is served is decided when the fetch begins."""
        self.began.append(time.monotonic())
        answer = self.answer
        await self.gate.wait()
        if isinstance(answer, Exception):
            raise answer
        return answer
