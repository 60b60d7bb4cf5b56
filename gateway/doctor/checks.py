"""Runs checks side by side: each within its own time, none before what it stands on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from gateway.doctor.report import Finding, State, Verdict, fault, found, skipped
from gateway.errors import GatewayError
from gateway.resilience.clock import Clock
from gateway.resilience.deadline import Deadline

LIMIT_S = 5.0
"""Longest time of one check, from when what it needs is there."""
_MARGIN_S = 0.2
"""A check's own deadline ends so much sooner, so that it can still say itself what took too long."""

Look = Callable[[Deadline], Awaitable[Verdict]]
OnProgress = Callable[[int, int], None]
"""Hears how many checks are done, and of how many."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Check:
    """One thing to look at. `needs`: skipped unless these were well; `after`: begins when these have ended."""

    name: str
    subject: str
    look: Look
    needs: tuple[Check, ...] = ()
    after: tuple[Check, ...] = ()


async def run_checks(
    checks: Sequence[Check],
    clock: Clock,
    *,
    limit_s: float = LIMIT_S,
    on_progress: OnProgress = lambda done, total: None,
) -> list[Finding]:
    """Run them all and return one finding each, in the order given.

    Args: a check stands behind those it needs.
    """
    tasks: dict[Check, asyncio.Task[Finding]] = {}
    done = 0

    async def run_one(check: Check) -> Finding:
        nonlocal done
        verdict = await _stand_on(check, tasks) or await _look(check, clock, limit_s)
        done += 1
        on_progress(done, len(checks))
        return found(check.name, check.subject, verdict)

    on_progress(0, len(checks))
    async with asyncio.TaskGroup() as group:
        for check in checks:
            tasks[check] = group.create_task(run_one(check))
    return [tasks[check].result() for check in checks]


async def _stand_on(check: Check, tasks: dict[Check, asyncio.Task[Finding]]) -> Verdict | None:
    """Wait for what comes first; return why the check is skipped, None when it is not."""
    for other in check.after:
        await tasks[other]
    for other in check.needs:
        before = await tasks[other]
        if before.state in (State.FAULT, State.SKIPPED):
            return skipped(f"not looked at, because of {before.name} ({before.subject})")
    return None


async def _look(check: Check, clock: Clock, limit_s: float) -> Verdict:
    try:
        async with asyncio.timeout(limit_s):
            return await check.look(Deadline.after(limit_s - _MARGIN_S, clock))
    except TimeoutError:
        return fault(f"no result within {limit_s:g} s", "look at the network between here and there, and at its load")
    except GatewayError as error:
        return fault(error.message, "see the other lines of this report")
    except Exception as error:  # noqa: BLE001 - one broken check must not hide the others; its text may hold anything
        return fault(f"the check itself failed ({type(error).__name__})", "report this as a bug of the doctor")


def told(verdict: Verdict) -> Look:
    """Return the look of a check whose verdict is known without waiting."""

    async def look(deadline: Deadline) -> Verdict:
        return verdict

    return look
