"""Signs with a key in a store: a bounded number of requests at once, each with all messages that wait for its key.

A message waits while every place is taken, so a hundred tokens of one call, or of a hundred calls, cost few requests
where the store signs several messages in one. Every signature is verified in the thread that fetched it. A store that
does not sign opens the breaker, and further calls are refused at once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway.core.ed25519 import SigningKey, VerifyingKey
from gateway.core.types import KeyId
from gateway.errors import CircuitOpen, SigningKeyUnavailable
from gateway.keys.signers.store import SIGN_WITHIN_S, KeyStore, StoredKey
from gateway.keys.sources.store_failure import StoreCause, StoreFailed
from gateway.resilience.breaker import Breaker, BreakerSettings, Circuit
from gateway.resilience.clock import Clock
from gateway.resilience.supervision import run_job
from gateway.resilience.worker_thread import WorkerThreads
from gateway.telemetry.logs import log

MOST_WAITING = 4096
"""Messages that may wait. One batch call has a hundred; more than forty such calls are more than a store signs soon."""
_TOO_MANY = "Too many calls wait for the store of the launch key. Try again later."
_TOO_LATE = "The store of the launch key did not sign within the deadline. Try again, or allow more time."
_BREAKER = BreakerSettings(failures_to_open=3, first_open_s=0.5, longest_open_s=10.0)


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    key: StoredKey
    message: bytes
    answer: asyncio.Future[bytes | SigningKeyUnavailable]


class SigningQueue:
    """The way to one store. Used by the event loop that serves calls."""

    def __init__(self, store: KeyStore, clock: Clock, *, on_event: Callable[[str], None] = lambda name: None) -> None:
        """`on_event` counts `signer_failed`, a request, and `signer_forged`, one with a wrong signature."""
        self.reference = store.reference
        self._store = store
        self._on_event = on_event
        self._breaker = Breaker(clock, _BREAKER, on_change=self._report_change)
        self._waiting: deque[_Waiting] = deque()
        self._threads = WorkerThreads(f"signer {store.reference}", store.at_once)
        self._workers: set[asyncio.Task[None]] = set()
        self._busy = 0
        self._trouble = ""

    @property
    def trouble(self) -> str:
        """Why the store does not sign; "" while it does."""
        return self._trouble

    async def sign(
        self, key: StoredKey, messages: Sequence[bytes], within_s: float
    ) -> list[bytes | SigningKeyUnavailable]:
        """Return, per message and in order, a verified signature of exactly this key, or why there is none."""
        if len(self._waiting) + len(messages) > MOST_WAITING:
            return [SigningKeyUnavailable(_TOO_MANY)] * len(messages)
        loop = asyncio.get_running_loop()
        mine = [_Waiting(key, message, loop.create_future()) for message in messages]
        self._waiting.extend(mine)
        self._start_workers()
        try:
            await asyncio.wait([one.answer for one in mine], timeout=max(0.0, within_s))
            return [_result_of(one.answer) for one in mine]
        finally:
            for one in mine:
                one.answer.cancel()

    async def stop(self) -> None:
        """End the threads. Waiting calls are refused."""
        for worker in self._workers:
            worker.cancel()
        await self._threads.stop(SIGN_WITHIN_S)

    def _start_workers(self) -> None:
        for _ in range(min(self._store.at_once - self._busy, len(self._waiting))):
            self._busy += 1
            worker = run_job("signing", self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)

    async def _work(self) -> None:
        try:
            while batch := self._take():
                await self._sign(batch)
        finally:
            self._busy -= 1

    def _take(self) -> list[_Waiting]:
        """Take messages of one key, oldest first, as many as fit into one request."""
        taken: list[_Waiting] = []
        others: list[_Waiting] = []
        while self._waiting and len(taken) < self._store.most_in_one_request:
            one = self._waiting.popleft()
            if one.answer.done():
                continue  # its caller left
            (taken if not taken or one.key is taken[0].key else others).append(one)
        self._waiting.extendleft(reversed(others))
        return taken

    async def _sign(self, batch: list[_Waiting]) -> None:
        try:
            permit = self._breaker.enter()
        except CircuitOpen as refusal:
            _answer(batch, [SigningKeyUnavailable(retry_after_s=refusal.retry_after_s)] * len(batch))
            return
        key = batch[0].key
        try:
            async with asyncio.timeout(SIGN_WITHIN_S):
                signatures = await self._threads.run(lambda: self._signed(key, [one.message for one in batch]))
        except Exception as failure:  # noqa: BLE001 - whatever a store's library raises, it must not end the queue
            self._breaker.failed(permit)
            self._failed(failure)
            _answer(batch, [SigningKeyUnavailable()] * len(batch))
            return
        except BaseException:
            self._breaker.abandoned(permit)
            _answer(batch, [SigningKeyUnavailable()] * len(batch))
            raise
        self._breaker.succeeded(permit)
        self._trouble = ""
        _answer(batch, signatures)

    def _signed(self, key: StoredKey, messages: list[bytes]) -> list[bytes]:
        """Sign and verify, in a thread. Raises: StoreFailed."""
        signatures = self._store.sign(key.name, messages)
        if len(signatures) != len(messages):
            raise StoreFailed(StoreCause.UNUSABLE_ANSWER, "it answered with another number of signatures than messages")
        if not all(map(key.public.verify, messages, signatures)):
            self._on_event("signer_forged")
            raise StoreFailed(StoreCause.UNUSABLE_ANSWER, "it answered with a signature that is not of this key")
        return signatures

    def _failed(self, failure: Exception) -> None:
        if isinstance(failure, StoreFailed):
            text = str(failure)
        elif isinstance(failure, TimeoutError):
            text = f"it did not answer within {SIGN_WITHIN_S:g} s"
        else:
            text = f"its library failed ({type(failure).__name__})"
        self._on_event("signer_failed")
        if text != self._trouble:
            self._trouble = text
            log().warning("the store of the launch key does not sign", address=self.reference, trouble=text)

    def _report_change(self, circuit: Circuit) -> None:
        if circuit is Circuit.OPEN:
            self._on_event("signer_opened")
        if circuit is Circuit.CLOSED:
            log().info("the store of the launch key signs again", address=self.reference)


def _answer(batch: list[_Waiting], results: Sequence[bytes | SigningKeyUnavailable]) -> None:
    for one, result in zip(batch, results, strict=True):
        if not one.answer.done():
            one.answer.set_result(result)


def _result_of(answer: asyncio.Future[bytes | SigningKeyUnavailable]) -> bytes | SigningKeyUnavailable:
    return answer.result() if answer.done() else SigningKeyUnavailable(_TOO_LATE)


class RemoteKey:
    """One version of a launch key that stays in its store: the public half, and the way to its signatures."""

    __slots__ = ("_queue", "_stored")

    def __init__(self, stored: StoredKey, queue: SigningQueue) -> None:
        """Sign with this version only."""
        self._stored = stored
        self._queue = queue

    @property
    def public(self) -> VerifyingKey:
        """The public half."""
        return self._stored.public

    @property
    def key_id(self) -> KeyId:
        """The id of the public key."""
        return self._stored.public.key_id

    @property
    def trouble(self) -> str:
        """Why the store does not sign; "" while it does."""
        return self._queue.trouble

    async def sign(self, messages: Sequence[bytes], within_s: float) -> list[bytes | SigningKeyUnavailable]:
        """Return a verified signature per message, in order, or why there is none."""
        return await self._queue.sign(self._stored, messages, within_s)

    async def sign_one(self, message: bytes, within_s: float = SIGN_WITHIN_S) -> bytes:
        """Return the verified signature over `message`. Raises: SigningKeyUnavailable."""
        (result,) = await self._queue.sign(self._stored, [message], within_s)
        if isinstance(result, SigningKeyUnavailable):
            raise result
        return result

    def __repr__(self) -> str:
        return f"RemoteKey(key_id={self.key_id!r})"


LaunchKey = SigningKey | RemoteKey
"""A key in the memory of this process, or one that stays in its store."""
