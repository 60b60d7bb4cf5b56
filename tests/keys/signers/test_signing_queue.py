"""The way to a store that signs: few requests for many messages, verified signatures only, and no wait without end."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from gateway.core.ed25519 import generate_signing_key
from gateway.errors import SigningKeyUnavailable
from gateway.keys.signers import signing_queue
from gateway.keys.signers.signing_queue import RemoteKey, SigningQueue
from tests.keys.signers.scripted_store import ScriptedStore
from tests.manual_clock import ManualClock


class Bench:
    """A queue before a scripted store with one key."""

    def __init__(self, store: ScriptedStore) -> None:
        self.store = store
        self.clock = ManualClock()
        self.events: Counter[str] = Counter()
        store.add(self.clock.now())
        self.queue = SigningQueue(store, self.clock, on_event=lambda name: self.events.update([name]))
        self.key = RemoteKey(store.versions()[0], self.queue)

    async def store_got(self, count: int) -> None:
        """Wait until so many requests have reached the store."""
        for _ in range(count):
            await asyncio.to_thread(self.store.got.acquire)

    async def sign(self, count: int, within_s: float = 20.0) -> list[str]:
        """Return the reason of each result; "" for a signature that verifies."""
        messages = [b"message %d" % number for number in range(count)]
        results = await self.key.sign(messages, within_s)
        reasons = []
        for message, result in zip(messages, results, strict=True):
            if isinstance(result, bytes):
                assert self.key.public.verify(message, result)
            reasons.append("" if isinstance(result, bytes) else result.reason)
        return reasons


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    """Of a store that signs a hundred messages in one request."""
    made = Bench(ScriptedStore())
    yield made
    made.store.may_answer.set()
    await made.queue.stop()


async def test_a_hundred_messages_of_one_call_cost_one_request(bench: Bench) -> None:
    """Where the store has a request for several messages."""
    assert [""] * 100 == await bench.sign(100)
    assert [("1", 100)] == bench.store.requests


async def test_calls_share_requests_while_others_are_under_way(bench: Bench) -> None:
    """Four requests at once; what arrives meanwhile is signed together."""
    bench.store.may_answer.clear()
    calls = [asyncio.create_task(bench.sign(1)) for _ in range(40)]
    await bench.store_got(1)
    more = [asyncio.create_task(bench.sign(1)) for _ in range(40)]
    await asyncio.sleep(0)
    bench.store.may_answer.set()
    assert [[""]] * 80 == list(await asyncio.gather(*calls, *more))
    assert len(bench.store.requests) <= 8
    assert 80 == sum(count for _, count in bench.store.requests)


async def test_a_store_that_signs_one_by_one_gets_a_bounded_number_at_once() -> None:
    """Side by side, but no more than it says."""
    bench = Bench(ScriptedStore(most_in_one_request=1, at_once=3))
    bench.store.may_answer.clear()
    call = asyncio.create_task(bench.sign(10))
    await bench.store_got(3)
    assert 3 == len(bench.store.requests)
    bench.store.may_answer.set()
    assert [""] * 10 == await call
    assert [("1", 1)] * 10 == bench.store.requests
    await bench.queue.stop()


async def test_a_signature_of_another_key_never_leaves(bench: Bench) -> None:
    """Every message of the request is refused, even if only one signature is wrong."""
    bench.store.signs_with = generate_signing_key()[0]
    assert ["KEY_UNAVAILABLE"] * 2 == await bench.sign(2)
    assert {"signer_forged": 1, "signer_failed": 1} == bench.events
    assert "not of this key" in bench.queue.trouble


@pytest.mark.parametrize("answer", [[], [b""], [b"x" * 64], [b"x" * 64, b"y" * 64], [b"x" * 65]])
async def test_garbage_is_no_signature(bench: Bench, answer: list[bytes]) -> None:
    """Too few, too many, too long, or of nobody."""
    bench.store.answers_with = answer
    assert ["KEY_UNAVAILABLE"] == await bench.sign(1)


async def test_a_slow_store_ends_at_the_callers_deadline(bench: Bench) -> None:
    """The reason tells the caller to try again; the request goes on and harms nobody."""
    bench.store.may_answer.clear()
    (result,) = await bench.key.sign([b"x"], 0.05)
    assert isinstance(result, SigningKeyUnavailable)
    assert ("UNAVAILABLE", 1.0) == (result.code, result.retry_after_s)
    bench.store.may_answer.set()
    assert [""] == await bench.sign(1)


async def test_a_store_that_hangs_opens_the_breaker_and_is_asked_no_more(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then calls are refused at once; when it answers again, one probe closes the breaker."""
    monkeypatch.setattr(signing_queue, "SIGN_WITHIN_S", 0.05)
    bench.store.may_answer.clear()
    for _ in range(3):
        assert ["KEY_UNAVAILABLE"] == await bench.sign(1)
    asked = len(bench.store.requests)
    assert ["KEY_UNAVAILABLE"] * 5 == await bench.sign(5)
    assert asked == len(bench.store.requests)
    bench.store.may_answer.set()
    bench.clock.advance(11.0)
    monkeypatch.setattr(signing_queue, "SIGN_WITHIN_S", 20.0)
    assert [""] == await bench.sign(1)
    assert "" == bench.queue.trouble


async def test_a_store_that_is_down_opens_the_breaker(bench: Bench) -> None:
    """RetryInfo tells how long it stays open."""
    bench.store.down = True
    for _ in range(3):
        assert ["KEY_UNAVAILABLE"] == await bench.sign(1)
    (refused,) = await bench.key.sign([b"x"], 5)
    assert isinstance(refused, SigningKeyUnavailable)
    assert 0 < (refused.retry_after_s or 0) <= 0.5
    assert 3 == len(bench.store.requests)


async def test_a_call_whose_caller_left_is_not_signed() -> None:
    """Its messages leave the queue with it."""
    bench = Bench(ScriptedStore(most_in_one_request=1, at_once=1))
    bench.store.may_answer.clear()
    first = asyncio.create_task(bench.sign(1))
    await bench.store_got(1)
    left = asyncio.create_task(bench.sign(5))
    await asyncio.sleep(0)
    left.cancel()
    with pytest.raises(asyncio.CancelledError):
        await left
    bench.store.may_answer.set()
    assert [""] == await first
    assert [""] == await bench.sign(1)
    assert 2 == len(bench.store.requests)
    await bench.queue.stop()


async def test_too_many_waiting_messages_are_refused(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rather than answered after everybody's deadline."""
    monkeypatch.setattr(signing_queue, "MOST_WAITING", 10)
    assert ["KEY_UNAVAILABLE"] * 11 == await bench.sign(11)
    assert [] == bench.store.requests


async def test_messages_of_two_versions_are_never_in_one_request(bench: Bench) -> None:
    """A token names one key, so its request does."""
    bench.store.add(bench.clock.now())
    second = RemoteKey(bench.store.versions()[1], bench.queue)
    results = await asyncio.gather(bench.key.sign([b"a"], 5), second.sign([b"a"], 5), bench.key.sign([b"b"], 5))
    assert all(isinstance(one, bytes) for (one,) in results)
    assert [("1", 2), ("2", 1)] == sorted(bench.store.requests)
    (of_second,) = results[1]
    assert isinstance(of_second, bytes)
    assert second.public.verify(b"a", of_second)
    assert not bench.key.public.verify(b"a", of_second)
