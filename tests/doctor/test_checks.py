"""Running checks: side by side, bounded, in order, none hidden by another's failure."""

from __future__ import annotations

import asyncio

from gateway.doctor.checks import Check, run_checks, told
from gateway.doctor.report import State, Verdict, exit_code, fault, found, ok, skipped, warning
from gateway.resilience.clock import SystemClock
from gateway.resilience.deadline import Deadline

CLOCK = SystemClock()


async def test_side_by_side() -> None:
    """Two checks that wait for each other both end."""
    first, second = asyncio.Event(), asyncio.Event()

    async def one(deadline: Deadline) -> Verdict:
        first.set()
        await second.wait()
        return ok("one")

    async def two(deadline: Deadline) -> Verdict:
        second.set()
        await first.wait()
        return ok("two")

    findings = await run_checks(
        [Check(name="a", subject="", look=one), Check(name="b", subject="", look=two)], CLOCK, limit_s=5
    )
    assert [finding.what for finding in findings] == ["one", "two"]


async def test_a_check_that_never_ends() -> None:
    """It is ended by its limit, as a fault, and the others keep their findings."""

    async def never(deadline: Deadline) -> Verdict:
        await asyncio.Event().wait()
        return ok("unreachable")

    checks = [Check(name="slow", subject="", look=never), Check(name="quick", subject="", look=told(ok("fine")))]
    findings = await run_checks(checks, CLOCK, limit_s=0.1)
    assert [(finding.name, finding.state) for finding in findings] == [("slow", State.FAULT), ("quick", State.OK)]
    assert "no result within 0.1 s" in findings[0].what


async def test_a_check_that_breaks() -> None:
    """Its error's text, which may hold anything, is not shown; its kind is."""

    async def broken(deadline: Deadline) -> Verdict:
        raise RuntimeError("password=hidden-one")

    (finding,) = await run_checks([Check(name="broken", subject="", look=broken)], CLOCK)
    assert (finding.state, finding.what) == (State.FAULT, "the check itself failed (RuntimeError)")


async def test_what_is_needed_comes_first() -> None:
    """A check whose need failed is skipped, and what needs that one too; one that comes merely after is run."""
    down = Check(name="down", subject="x", look=told(fault("gone", "look")))
    on_it = Check(name="on-it", subject="x", look=told(ok("unreachable")), needs=(down,))
    further = Check(name="further", subject="x", look=told(ok("unreachable")), needs=(on_it,))
    after = Check(name="after", subject="x", look=told(ok("looked at")), after=(on_it,))
    findings = await run_checks([down, on_it, further, after], CLOCK)
    assert [finding.state for finding in findings] == [State.FAULT, State.SKIPPED, State.SKIPPED, State.OK]
    assert "because of down (x)" in findings[1].what


async def test_progress() -> None:
    """Progress begins at none of them and ends at all of them."""
    seen: list[tuple[int, int]] = []
    checks = [Check(name=name, subject="", look=told(ok("fine"))) for name in "abc"]
    await run_checks(checks, CLOCK, on_progress=lambda done, total: seen.append((done, total)))
    assert seen == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_exit_codes() -> None:
    """Only a fault fails."""
    verdicts = [ok("a"), warning("b", "c"), skipped("d")]
    findings = [found("x", "", verdict) for verdict in verdicts]
    assert exit_code(findings) == 0
    assert exit_code([*findings, found("x", "", fault("e", "f"))]) == 1
