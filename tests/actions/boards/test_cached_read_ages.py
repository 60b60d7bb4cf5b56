"""In any order of reads, refreshes, failures and expiries, no answer is older than it reports or may be."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.actions.boards.read_values import ReadAnswer, Source
from gateway.errors import GatewayError
from tests.actions.events.blocking_phoenix import BlockingPhoenix, Reads, SharedMemory, settle
from tests.manual_clock import ManualClock

EPSILON = 1e-6


@dataclass
class Reported:
    """One read that was begun: by whom it may be judged when it ends."""

    arrived_at: float
    max_staleness_s: float | None
    answer: ReadAnswer | None = None


READ = st.tuples(st.just("read"), st.integers(0, 1), st.sampled_from([None, None, 0.0, 0.4, 3.0, 100.0]))
ADVANCE = st.tuples(st.just("advance"), st.just(0), st.sampled_from([0.1, 0.7, 1.1, 4.0, 31.0]))
ANSWER = st.tuples(st.just("answer"), st.integers(0, 3), st.booleans())
RARE = st.one_of(
    st.tuples(st.sampled_from(["fail", "absent"]), st.integers(0, 3), st.none()),
    st.tuples(st.just("leave"), st.integers(0, 5), st.none()),
    st.tuples(st.just("fleet"), st.integers(0, 1), st.none()),
)
STEPS = st.one_of(READ, READ, ADVANCE, ANSWER, RARE)


class World:
    """Two replicas that share a cache, before one Phoenix."""

    def __init__(self, patience_s: float) -> None:
        self.clock = ManualClock()
        self.phoenix = BlockingPhoenix(self.clock)
        self.shared = SharedMemory(self.clock)
        self.replicas = [Reads(self.phoenix, self.shared, patience_s=patience_s) for _ in range(2)]
        self.running: list[asyncio.Task[None]] = []

    async def read(self, replica: int, max_staleness_s: float | None) -> None:
        reported = Reported(arrived_at=self.clock.monotonic(), max_staleness_s=max_staleness_s)
        task = self.replicas[replica].begin(max_staleness_s)
        self.running.append(asyncio.ensure_future(self.judge(reported, task)))
        await settle()

    async def judge(self, reported: Reported, task: asyncio.Task[ReadAnswer]) -> None:
        """Compare with the payload, which is the moment at which Phoenix looked at its data."""
        try:
            answer = await task
        except GatewayError:
            return
        except asyncio.CancelledError:
            task.cancel()
            raise
        now, given_at = self.clock.monotonic(), float(answer.payload)
        assert now - given_at <= answer.age_s + EPSILON, "it is older than it says"
        if reported.max_staleness_s == 0:
            assert given_at >= reported.arrived_at - EPSILON, "it was asked for before the call came"
            assert answer.source is Source.LIVE
        elif reported.max_staleness_s is not None:
            assert given_at >= reported.arrived_at - reported.max_staleness_s - EPSILON, "it is older than was allowed"
        elif answer.source is not Source.LIVE:
            assert answer.age_s <= 60 + EPSILON, "it is older than may ever be served"

    async def step(self, kind: str, number: int, value: object) -> None:
        phoenix = self.phoenix
        place = number % phoenix.waiting if phoenix.waiting else -1
        match kind:
            case "read":
                assert value is None or isinstance(value, float)
                await self.read(number, value)
            case "advance":
                assert isinstance(value, float)
                self.clock.advance(value)
                for replica in self.replicas:
                    replica.tick.set()
                await settle()
            case "answer" if place >= 0:
                await phoenix.answer(early=value is True, place=place)
            case "fail" if place >= 0:
                await phoenix.raise_(place=place)
            case "absent" if place >= 0:
                await phoenix.absent(place=place)
            case "leave" if self.running:
                self.running[number % len(self.running)].cancel()
                await settle()
            case "fleet":
                self.shared.is_down = number == 1

    async def end(self) -> None:
        """Wait until everything has ended. Raises the failure of a read."""
        for _ in range(200):
            while self.phoenix.waiting:
                await self.phoenix.answer()
            if all(task.done() for task in self.running):
                break
            self.clock.advance(0.5)
            for replica in self.replicas:
                replica.tick.set()
            await settle()
            await asyncio.sleep(0.001)
        async with asyncio.timeout(10):
            results = await asyncio.gather(*self.running, return_exceptions=True)
        for replica in self.replicas:
            await replica.reads.close()
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
                raise result


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(STEPS, min_size=5, max_size=60), st.sampled_from([0.0, 60.0]))
def test_no_answer_is_older_than_it_says(steps: list[tuple[str, int, object]], patience_s: float) -> None:
    """Two replicas, a shared cache that comes and goes, an impatient or patient gateway."""

    async def run() -> None:
        world = World(patience_s)
        for kind, number, value in steps:
            await world.step(kind, number, value)
        await world.end()

    asyncio.run(run())
