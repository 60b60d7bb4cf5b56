"""Claims of several replicas in a real Redis: no replica forgets or weakens what another one knows of an event."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import secrets
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from gateway import errors
from gateway.actions.events.event_memory import Answer, Claim, EventMemory, MemorySettings, Recalled
from gateway.cache.client import RedisCache, RedisCacheSettings
from gateway.cache.event_ids import RedisEventIds
from gateway.cache.redis_url import parse_redis_url
from gateway.core.sealing import SealKeys
from gateway.core.types import TenantId
from gateway.errors import GatewayError
from gateway.phoenix.gamification.pending_event import Failed, Submitted
from gateway.resilience.clock import SystemClock
from gateway.resilience.deadline import Deadline
from tests.cache.redis_use import usable_again
from tests.redis_process import RedisProcess

CLOCK = SystemClock()
T = TenantId("t")
KEYS = SealKeys.from_text(base64.b64encode(secrets.token_bytes(32)).decode())
PATIENT = RedisCacheSettings(timeout_s=2.0, patient_s=2.0, check_s=2.0, server_timeout_s=2.0)
TRIES = 3
"""A busy machine may stop the test during a wait: the shortest of so many is judged."""


@pytest_asyncio.fixture
async def cache(redis_server: RedisProcess) -> AsyncIterator[RedisCache]:
    made = RedisCache(parse_redis_url(redis_server.url), CLOCK, PATIENT)
    await made.start()
    yield made
    await made.close()


def replica(cache: RedisCache) -> EventMemory:
    return EventMemory(CLOCK, RedisEventIds(cache=cache, seal_keys=KEYS, clock=CLOCK))


async def ask(memory: EventMemory, resend_within_s: float | None = None) -> Answer:
    deadline = Deadline.after(10, CLOCK)
    return (await memory.claim(T, [("e", b"1" * 32)], resend_within_s=resend_within_s, deadline=deadline))[0]


async def ask_and_leave(memory: EventMemory, resend_within_s: float | None = None) -> None:
    """Claim, and be cancelled while Redis does not answer."""
    cancelled = asyncio.create_task(ask(memory, resend_within_s))
    await asyncio.sleep(0.03)
    cancelled.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await cancelled
    assert cancelled.cancelled()


@contextlib.contextmanager
def writes_paused(redis_server: RedisProcess) -> Iterator[None]:
    """Redis answers no write, however long the machine takes for what happens meanwhile."""
    redis_server.command("CLIENT", "PAUSE", "10000", "WRITE")
    try:
        yield
    finally:
        redis_server.command("CLIENT", "UNPAUSE")


async def end(memory: EventMemory, claim: Answer, error: GatewayError | None = None) -> None:
    """Settle, and wait until it is written."""
    assert isinstance(claim, Claim)
    result = (
        Submitted(event_id="e", duplicate=False, accepted_at=1.0)
        if error is None
        else Failed(event_id="e", error=error)
    )
    await memory.settle(T, [(claim, result)], Deadline.after(10, CLOCK))
    await memory.close()


@pytest.mark.parametrize("is_accepted", [True, False], ids=["accepted", "begun"])
async def test_a_cancelled_claim_leaves_the_entry_of_another_replica(
    cache: RedisCache, redis_server: RedisProcess, is_accepted: bool
) -> None:
    """Redis answers too late with that entry; the next retry anywhere must still find it."""
    there, here = replica(cache), replica(cache)
    claim = await ask(there)
    if is_accepted:
        await end(there, claim)
    with writes_paused(redis_server):
        await ask_and_leave(here)
    await here.close()
    assert await ask(replica(cache)) is (Recalled.ACCEPTED if is_accepted else Recalled.UNKNOWN)


@pytest.mark.parametrize(
    "error", [errors.PhoenixRateLimited(), errors.OutcomeUnknown()], ids=["certainly-not-sent", "in-doubt"]
)
async def test_a_claim_of_this_process_alone_leaves_an_accepted_event(
    cache: RedisCache, redis_server: RedisProcess, error: GatewayError
) -> None:
    """Redis gave no answer in time, so that the claim never learned what another replica wrote."""
    there, here = replica(cache), replica(cache)
    await end(there, await ask(there))
    with writes_paused(redis_server):
        claim = await ask(here)
    assert isinstance(claim, Claim)
    assert not claim.is_shared
    await end(here, claim, error)
    assert await ask(replica(cache)) is Recalled.ACCEPTED


async def test_a_certain_failure_frees_the_id_for_other_replicas(cache: RedisCache) -> None:
    """The claim removes what it wrote itself."""
    here = replica(cache)
    await end(here, await ask(here), errors.PhoenixRateLimited())
    assert isinstance(await ask(replica(cache)), Claim)


async def test_a_cancelled_resend_keeps_the_doubt(cache: RedisCache, redis_server: RedisProcess) -> None:
    """In this process and in Redis: the first send may have reached Phoenix."""
    here = replica(cache)
    claim = await ask(here)
    await end(here, claim, errors.OutcomeUnknown())
    with writes_paused(redis_server):
        await ask_and_leave(here, resend_within_s=220)
    await here.close()
    assert len(here) == 1
    assert await ask(here) is Recalled.UNKNOWN
    assert await ask(replica(cache)) is Recalled.UNKNOWN
    again = await ask(here, resend_within_s=220)
    assert isinstance(again, Claim)
    assert isinstance(claim, Claim)
    assert (again.in_doubt, again.at) == (True, claim.at)


async def test_a_claim_cancelled_before_it_reaches_redis_is_withdrawn(
    cache: RedisCache, redis_server: RedisProcess
) -> None:
    """It waits for the release of the same id. A later call must not wait for it in vain."""
    here = replica(cache)
    claim = await ask(here)
    assert isinstance(claim, Claim)
    result = Failed(event_id="e", error=errors.PhoenixRateLimited())
    with writes_paused(redis_server):
        await here.settle(T, [(claim, result)], Deadline.after(10, CLOCK))
        await ask_and_leave(here)
    await here.close()
    assert isinstance(await ask(here), Claim)


async def test_a_release_and_the_next_claim_share_one_limit(cache: RedisCache, redis_server: RedisProcess) -> None:
    """A call waits for Redis for 0.4 s in all, not once for each of the two."""
    took: list[float] = []
    while len(took) < TRIES and not (took and took[-1] < 0.7):
        redis_server.flush()
        here = EventMemory(
            CLOCK,
            RedisEventIds(cache=cache, seal_keys=KEYS, clock=CLOCK),
            MemorySettings(claim_within_s=0.4, release_within_s=0.0),
        )
        claim = await ask(here)
        assert isinstance(claim, Claim)
        failed = Failed(event_id="e", error=errors.PhoenixRateLimited())
        with writes_paused(redis_server):
            await here.settle(T, [(claim, failed)], Deadline.after(10, CLOCK))
            began = CLOCK.monotonic()
            await ask(here)
            took.append(CLOCK.monotonic() - began)
        await here.close()
        await usable_again(cache)
    assert 0.3 < min(took) < 0.7
