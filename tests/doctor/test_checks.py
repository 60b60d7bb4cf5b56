"""Running checks: side by side, bounded, in order, none hidden by another's failure."""

from __future__ import annotations

import asyncio

from gateway.doctor.checks import Check, always, run_checks
from gateway.doctor.report import Result, State, exit_code, fault, finding_of, ok, skipped, warning
from gateway.resilience.clock import SystemClock
from gateway.resilience.deadline import Deadline

CLOCK = SystemClock()


async def test_side_by_side() -> None:
    """Two checks that wait for each other both end."""
    first, second = asyncio.Event(), asyncio.Event()

    async def one(deadline: Deadline) -> Result:
        first.set()
        await second.wait()
        return ok("one")

    async def two(deadline: Deadline) -> Result:
        second.set()
        await first.wait()
        return ok("two")

    findings = await run_checks(
        [Check(name="a", subject="", probe=one), Check(name="b", subject="", probe=two)], CLOCK, limit_s=5
    )
    assert [finding.what for finding in findings] == ["one", "two"]


async def test_a_check_that_never_ends() -> None:
    """It is ended by its limit, as a fault, and the others keep their findings."""

    async def never(deadline: Deadline) -> Result:
        await asyncio.Event().wait()
        return ok("unreachable")

    checks = [Check(name="slow", subject="", probe=never), Check(name="quick", subject="", probe=always(ok("fine")))]
    findings = await run_checks(checks, CLOCK, limit_s=0.1)
    assert [(finding.name, finding.state) for finding in findings] == [("slow", State.FAULT), ("quick", State.OK)]
    assert "no result within 0.1 s" in findings[0].what


async def test_a_check_that_breaks() -> None:
    """Its error's text, which may hold anything, is not shown; its kind is."""

    async def broken(deadline: Deadline) -> Result:
        raise RuntimeError("password=hidden-one")

    (finding,) = await run_checks([Check(name="broken", subject="", probe=broken)], CLOCK)
    assert finding.state is State.FAULT
    assert finding.what.startswith("no result: RuntimeError at ")
    assert "hidden-one" not in f"{finding}"


async def test_what_is_needed_comes_first() -> None:
    """A check whose need failed is skipped, and what needs that one too; one that comes merely after is run."""
    down = Check(name="down", subject="x", probe=always(fault("gone", "look")))
    on_it = Check(name="on-it", subject="x", probe=always(ok("unreachable")), needs=(down,))
    further = Check(name="further", subject="x", probe=always(ok("unreachable")), needs=(on_it,))
    after = Check(name="after", subject="x", probe=always(ok("looked at")), after=(on_it,))
    findings = await run_checks([down, on_it, further, after], CLOCK)
    assert [finding.state for finding in findings] == [State.FAULT, State.SKIPPED, State.SKIPPED, State.OK]
    assert "because of down (x)" in findings[1].what


async def test_progress() -> None:
    """The progress starts at 0 and ends at the number of checks."""
    seen: list[tuple[int, int]] = []
    checks = [Check(name=name, subject="", probe=always(ok("fine"))) for name in "abc"]
    await run_checks(checks, CLOCK, on_progress=lambda done, total: seen.append((done, total)))
    assert seen == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_exit_codes() -> None:
    """Only a fault fails."""
    results = [ok("a"), warning("b", "c"), skipped("d")]
    findings = [finding_of("x", "", result) for result in results]
    assert exit_code(findings) == 0
    assert exit_code([*findings, finding_of("x", "", fault("e", "f"))]) == 1
