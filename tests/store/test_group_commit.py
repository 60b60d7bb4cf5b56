"""Group commit: gather, bound, and never let one operation harm another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

import pytest

from gateway.errors import DeadlineTooShort, GatewayError, Overloaded, PhoenixNotFound, StoreUnavailable
from gateway.resilience.clock import SystemClock
from gateway.resilience.deadline import Deadline
from gateway.resilience.supervision import UnexpectedEnd, unexpected_end_of
from gateway.store.group_commit import CommitSettings, GroupCommitter
from tests.evidence.wallet_factory import soon
from tests.fault_injection import task_named
from tests.manual_clock import ManualClock


class Ledger:
    """A store that records its batches and waits at a gate when the test wants."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.limits: list[float] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.entered = asyncio.Event()
        self.down = False

    async def commit(self, ops: Sequence[int], limit_s: float) -> Sequence[int | GatewayError]:
        self.entered.set()
        await self.gate.wait()
        if self.down:
            raise StoreUnavailable
        if -1 in ops:
            raise ValueError("this operation breaks its transaction")
        self.batches.append(list(ops))
        self.limits.append(limit_s)
        return [PhoenixNotFound() if op == 404 else op * 10 for op in ops]

    def shut(self) -> None:
        self.gate.clear()
        self.entered.clear()


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


MakeCommitter = Callable[..., GroupCommitter[int, int]]


@pytest.fixture
async def make_committer(ledger: Ledger) -> AsyncIterator[MakeCommitter]:
    made: list[GroupCommitter[int, int]] = []

    def make(size: int = 1, **settings: float) -> GroupCommitter[int, int]:
        committer: GroupCommitter[int, int] = GroupCommitter(
            "commit",
            ledger.commit,
            size_of=lambda op: size,
            settings=CommitSettings(**settings),  # type: ignore[arg-type]
        )
        committer.start()
        made.append(committer)
        return committer

    yield make
    ledger.gate.set()
    for committer in made:
        await committer.stop(5)


async def hold(committer: GroupCommitter[int, int], ledger: Ledger) -> asyncio.Task[int]:
    """Have one commit run until the gate opens."""
    ledger.shut()
    task = asyncio.create_task(committer.submit(0, soon()))
    await asyncio.wait_for(ledger.entered.wait(), 5)
    return task


async def queued(committer: GroupCommitter[int, int], ops: Sequence[int]) -> list[asyncio.Task[int]]:
    """Submit these and let each reach the queue."""
    tasks = [asyncio.create_task(committer.submit(op, soon())) for op in ops]
    await asyncio.sleep(0)
    return tasks


async def test_what_arrives_during_a_commit_is_committed_together(
    make_committer: MakeCommitter, ledger: Ledger
) -> None:
    """A hundred operations that gather behind one commit are one more commit; each gets its own result."""
    committer = make_committer()
    running = await hold(committer, ledger)
    tasks = await queued(committer, range(1, 101))
    ledger.gate.set()
    assert await asyncio.gather(running, *tasks) == [op * 10 for op in range(101)]
    assert [len(batch) for batch in ledger.batches] == [1, 100]


async def test_batch_is_bounded_by_number_and_bytes(make_committer: MakeCommitter, ledger: Ledger) -> None:
    """No more operations and payload than the limits. A single large operation is still committed."""
    committer = make_committer(max_batch=10)
    running = await hold(committer, ledger)
    tasks = await queued(committer, range(25))
    ledger.gate.set()
    await asyncio.gather(running, *tasks)
    assert [len(batch) for batch in ledger.batches] == [1, 10, 10, 5]
    ledger.batches.clear()
    bulky = make_committer(size=60, max_batch_bytes=100, max_queued_bytes=10_000)
    running = await hold(bulky, ledger)
    tasks = await queued(bulky, range(3))
    ledger.gate.set()
    await asyncio.gather(running, *tasks)
    assert [len(batch) for batch in ledger.batches] == [1, 1, 1, 1]


async def test_refusal_reaches_only_its_caller(make_committer: MakeCommitter, ledger: Ledger) -> None:
    """A refusal among the results is raised where it belongs."""
    committer = make_committer()
    running = await hold(committer, ledger)
    tasks = await queued(committer, [1, 404, 2])
    ledger.gate.set()
    results = await asyncio.gather(running, *tasks, return_exceptions=True)
    assert (results[1], results[3]) == (10, 20)
    assert isinstance(results[2], PhoenixNotFound)


async def test_operation_that_breaks_the_transaction(make_committer: MakeCommitter, ledger: Ledger) -> None:
    """One that breaks its transaction is a doubt for its own caller; the others are committed one by one."""
    committer = make_committer()
    running = await hold(committer, ledger)
    tasks = await queued(committer, [1, -1, 2])
    ledger.gate.set()
    results = await asyncio.gather(running, *tasks, return_exceptions=True)
    assert (results[1], results[3]) == (10, 20)
    assert isinstance(results[2], StoreUnavailable)
    assert isinstance(results[2].__cause__, ValueError)
    assert await committer.submit(5, soon()) == 50


async def test_failed_commit_fails_all_of_its_batch(make_committer: MakeCommitter, ledger: Ledger) -> None:
    """A failing store fails every item of the batch, and the next batch is tried again."""
    committer = make_committer()
    running = await hold(committer, ledger)
    tasks = await queued(committer, [1, 2])
    ledger.down = True
    ledger.gate.set()
    results = await asyncio.gather(running, *tasks, return_exceptions=True)
    assert [type(result) for result in results] == [StoreUnavailable] * 3
    ledger.down = False
    assert await committer.submit(7, soon()) == 70


async def test_queue_is_bounded_by_number(make_committer: MakeCommitter, ledger: Ledger) -> None:
    """More than may wait is refused at once as overload, and what waits is committed."""
    committer = make_committer(max_queued=3)
    running = await hold(committer, ledger)
    tasks = await queued(committer, [1, 2, 3])
    with pytest.raises(Overloaded):
        await committer.submit(4, soon())
    ledger.gate.set()
    assert await asyncio.gather(running, *tasks) == [0, 10, 20, 30]


async def test_queue_is_bounded_by_bytes(make_committer: MakeCommitter, ledger: Ledger) -> None:
    """Payload that waits is bounded, too, and given back when it was committed."""
    committer = make_committer(size=60, max_queued_bytes=100)
    running = await hold(committer, ledger)
    tasks = await queued(committer, [1])
    with pytest.raises(Overloaded):
        await committer.submit(2, soon())
    ledger.gate.set()
    assert await asyncio.gather(running, *tasks) == [0, 10]
    assert await committer.submit(3, soon()) == 30


async def test_cancelled_while_waiting_is_not_executed(make_committer: MakeCommitter, ledger: Ledger) -> None:
    """A caller that left before its batch started has no effect. The others continue."""
    committer = make_committer()
    running = await hold(committer, ledger)
    tasks = await queued(committer, [1, 2, 3])
    tasks[1].cancel()
    await asyncio.wait({tasks[1]})
    ledger.gate.set()
    assert list(await asyncio.gather(running, tasks[0], tasks[2])) == [0, 10, 30]
    assert ledger.batches == [[0], [1, 3]]


async def test_an_urgent_operation_goes_first_and_needs_no_caller(
    make_committer: MakeCommitter, ledger: Ledger
) -> None:
    """It is executed before what came earlier, although its caller has left, and although the queue is full."""
    committer = make_committer(max_queued=2)
    running = await hold(committer, ledger)
    tasks = await queued(committer, [1, 2])
    urgent = asyncio.create_task(committer.submit(9, soon(), is_urgent=True))
    await asyncio.sleep(0)
    urgent.cancel()
    await asyncio.wait({urgent})
    ledger.gate.set()
    assert await asyncio.gather(running, *tasks) == [0, 10, 20]
    assert ledger.batches == [[0], [9, 1, 2]]


async def test_an_urgent_operation_whose_deadline_passes(make_committer: MakeCommitter, ledger: Ledger) -> None:
    """Its caller hears that it may be committed, and it is."""
    committer = make_committer()
    running = await hold(committer, ledger)
    with pytest.raises(StoreUnavailable) as caught:
        await committer.submit(9, soon(0.05), is_urgent=True)
    assert caught.value.may_be_committed
    ledger.gate.set()
    assert await running == 0
    assert await committer.submit(1, soon()) == 10
    assert ledger.batches[:2] == [[0], [9]] or ledger.batches == [[0], [9, 1]]


async def test_a_cancel_during_the_commit_affects_no_other(make_committer: MakeCommitter, ledger: Ledger) -> None:
    """A caller that leaves while its commit runs does not stop the commit."""
    committer = make_committer()
    running = await hold(committer, ledger)
    running.cancel()
    await asyncio.wait({running})
    ledger.gate.set()
    assert await committer.submit(1, soon()) == 10
    assert ledger.batches == [[0], [1]]


async def test_deadline_while_the_commit_hangs(make_committer: MakeCommitter, ledger: Ledger) -> None:
    """A store that hangs is unavailable at the caller's deadline, not later."""
    committer = make_committer()
    running = await hold(committer, ledger)
    with pytest.raises(StoreUnavailable):
        await committer.submit(1, soon(0.05))
    ledger.gate.set()
    await running
    assert ledger.batches == [[0]]


async def test_deadline_that_passed_already(make_committer: MakeCommitter, ledger: Ledger) -> None:
    """Without time left nothing is begun."""
    committer = make_committer()
    with pytest.raises(DeadlineTooShort):
        await committer.submit(1, soon(-1))
    assert ledger.batches == []


async def test_deadline_that_passes_in_the_queue(make_committer: MakeCommitter, ledger: Ledger) -> None:
    """What is out of time when its batch is made is not executed."""
    committer = make_committer()
    clock = ManualClock()
    running = await hold(committer, ledger)
    late = asyncio.create_task(committer.submit(1, Deadline.after(0.2, clock)))
    await asyncio.sleep(0)
    clock.advance(1)
    ledger.gate.set()
    await running
    with pytest.raises(StoreUnavailable):
        await late
    assert ledger.batches == [[0]]


async def test_commit_gets_the_longest_deadline_within_its_bound(make_committer: MakeCommitter, ledger: Ledger) -> None:
    """A short deadline in the batch does not cut off the others; no deadline makes a commit endless."""
    committer = make_committer(max_commit_s=3)
    await committer.submit(1, soon(2))
    await committer.submit(1, soon(100))
    assert ledger.limits[0] == pytest.approx(2, abs=0.5)
    assert ledger.limits[1] == 3


async def test_stop_commits_what_waits(make_committer: MakeCommitter, ledger: Ledger) -> None:
    """A stopping store accepts nothing new and commits what it accepted."""
    committer = make_committer()
    running = await hold(committer, ledger)
    tasks = await queued(committer, [1, 2])
    stopping = asyncio.create_task(committer.stop(5))
    await asyncio.sleep(0)
    with pytest.raises(StoreUnavailable):
        await committer.submit(3, soon())
    ledger.gate.set()
    await stopping
    assert await asyncio.gather(running, *tasks) == [0, 10, 20]


async def test_stop_does_not_wait_for_a_store_that_hangs(make_committer: MakeCommitter, ledger: Ledger) -> None:
    """What cannot be committed in time is a doubt for its callers, and the gateway ends."""
    committer = make_committer()
    running = await hold(committer, ledger)
    tasks = await queued(committer, [1])
    await committer.stop(0.05)
    results = await asyncio.gather(running, *tasks, return_exceptions=True)
    assert [type(result) for result in results] == [StoreUnavailable] * 2


async def test_a_lone_operation_waits_for_no_company() -> None:
    """Only after a batch that had company does the next one linger."""
    sizes: list[int] = []

    async def commit(ops: Sequence[int], limit_s: float) -> list[int]:
        sizes.append(len(ops))
        return list(ops)

    committer: GroupCommitter[int, int] = GroupCommitter(
        "commit", commit, size_of=lambda op: 1, settings=CommitSettings(linger_s=2.0)
    )
    committer.start()
    clock = SystemClock()
    began = clock.monotonic()
    for number in range(20):
        await committer.submit(number, Deadline.after(5, clock))
    alone_s = clock.monotonic() - began
    await asyncio.gather(*(committer.submit(number, Deadline.after(5, clock)) for number in range(5)))
    lingering = asyncio.create_task(committer.submit(1, Deadline.after(5, clock)))
    await asyncio.sleep(0.05)
    await asyncio.gather(lingering, committer.submit(2, Deadline.after(5, clock)))
    await committer.stop(1)
    assert [1] * 20 + [5, 2] == sizes
    assert alone_s < 0.2


async def test_no_call_waits_for_an_ended_commit_task(make_committer: MakeCommitter, ledger: Ledger) -> None:
    """However it ended: the operation in its commit, those behind it and new ones are refused at once, not in time."""
    ends: list[UnexpectedEnd | None] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: ends.append(unexpected_end_of(context)))
    committer = make_committer()
    in_commit = await hold(committer, ledger)
    behind = asyncio.create_task(committer.submit(1, soon()))
    await asyncio.sleep(0)
    task_named("commit").cancel()
    async with asyncio.timeout(1):
        for refused in (in_commit, behind, committer.submit(2, soon())):
            with pytest.raises(StoreUnavailable):
                await refused
    assert [("commit", True)] == [(end.name, end.is_fatal) for end in ends if end is not None]
