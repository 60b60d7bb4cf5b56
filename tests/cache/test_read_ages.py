"""In any order of publishing, waiting, deleting and replaying old entries, no shared answer looks younger than it is.

It runs with a real Redis. The payload is the time of its data, by a clock that only the test has.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from contextlib import AsyncExitStack

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.cache.client import RedisCache, RedisCacheSettings
from gateway.cache.reads import RedisReadCache, _names
from gateway.cache.redis_url import parse_redis_url
from gateway.cache.shared_reads import ReadPlace
from gateway.core.sealing import SealKeys
from gateway.core.secret import Secret
from gateway.resilience.clock import SystemClock
from tests.redis_process import RedisProcess

PLACE = ReadPlace(tenant_id="t", name='["xp","leaderboard","","100","0"]')
ENTRY, _ = _names(PLACE)
KEEP_S = 0.3

PUBLISH = st.tuples(st.just("publish"), st.sampled_from([0.0, 0.05, 0.2]))
WAIT = st.tuples(st.just("wait"), st.sampled_from([0.001, 0.01, 0.05]))
RARE = st.tuples(st.sampled_from(["keep", "put back", "empty"]), st.just(0.0))
STEPS = st.lists(st.one_of(WAIT, PUBLISH, RARE), min_size=4, max_size=20)


class _Skewed:
    """The host's clock, this much off."""

    def __init__(self, off_s: float) -> None:
        self._off_s = off_s

    def monotonic(self) -> float:
        return time.monotonic()

    def now(self) -> float:
        return time.time() + self._off_s


# One Redis for all examples: each begins by emptying it.
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS, st.sampled_from([0.0, -100.0, -2.0, -0.2, 0.1]))
def test_a_shared_answer_is_never_older_than_it_says(
    redis_server: RedisProcess, steps: list[tuple[str, float]], off_s: float
) -> None:
    """One replica writes, another reads, whose clock is right, behind or ahead; old entries come back unless behind."""

    async def run() -> None:
        keys = SealKeys([Secret(secrets.token_bytes(32))])
        async with AsyncExitStack() as stack:
            replicas = []
            for clock in (SystemClock(), _Skewed(off_s)):
                patient = RedisCacheSettings(  # a busy machine is no outage
                    timeout_s=2.0, patient_s=2.0, check_s=2.0, server_timeout_s=2.0, suspect_after_s=1.0
                )
                cache = RedisCache(parse_redis_url(redis_server.url), clock, patient)
                await cache.start()
                stack.push_async_callback(cache.close)
                replicas.append(RedisReadCache(cache=cache, seal_keys=keys, clock=clock))
            writer, reader = replicas
            kept, slack_s = b"", 0.002
            for step, value in [("publish", 0.0), *steps]:
                match step:
                    case "publish":
                        moment = time.monotonic() - value
                        await writer.publish(PLACE, repr(moment).encode(), age_s=value, keep_s=KEEP_S, release=True)
                        # On a busy machine time may pass between the test's look at its clock and the writer's.
                        slack_s = max(slack_s, time.monotonic() - value - moment)
                    case "wait":
                        await asyncio.sleep(value)
                    case "keep":
                        kept = redis_server.command("GET", ENTRY).partition(b"\r\n")[2][:-2] or kept
                    case "put back" if kept and off_s >= 0:
                        redis_server.command("SET", ENTRY, kept, "PX", str(int(KEEP_S * 1000)))
                    case "empty":
                        redis_server.flush()
                looked_at = time.monotonic()
                found = (await reader.lookup(PLACE, lease_s=1.0)).found
                if found is not None:
                    assert looked_at - float(found.payload) <= found.age_s + slack_s

    redis_server.flush()
    asyncio.run(run())
