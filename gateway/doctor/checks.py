"""Runs checks concurrently: each within its own time limit, none before the checks that it needs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from gateway.doctor.report import Finding, Result, State, fault, finding_of, skipped
from gateway.errors import GatewayError
from gateway.resilience.clock import Clock
from gateway.resilience.deadline import Deadline
from gateway.telemetry.logs import where_raised

LIMIT_S = 5.0
"""Longest time of one check, counted from the end of the checks that it needs."""
_MARGIN_S = 0.2
"""A check's own deadline ends this much sooner, so that the check itself can report what was slow."""

Probe = Callable[[Deadline], Awaitable[Result]]
OnProgress = Callable[[int, int], None]
"""Takes the number of checks that are done, and the number of all."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Check:
    """One check. It is skipped if a check of `needs` failed, and starts when the checks of `after` have ended."""

    name: str
    subject: str
    probe: Probe
    needs: tuple[Check, ...] = ()
    after: tuple[Check, ...] = ()


async def run_checks(
    checks: Sequence[Check],
    clock: Clock,
    *,
    limit_s: float = LIMIT_S,
    on_progress: OnProgress = lambda done, total: None,
) -> list[Finding]:
    """Run all checks and return one finding for each, in the given order.

    Args: `checks`: a check comes after those that it needs.
    """
    tasks: dict[Check, asyncio.Task[Finding]] = {}
    done = 0

    async def run_one(check: Check) -> Finding:
        nonlocal done
        result = await _why_skipped(check, tasks) or await _probe(check, clock, limit_s)
        done += 1
        on_progress(done, len(checks))
        return finding_of(check.name, check.subject, result)

    on_progress(0, len(checks))
    async with asyncio.TaskGroup() as group:
        for check in checks:
            tasks[check] = group.create_task(run_one(check))
    return [tasks[check].result() for check in checks]


def always(result: Result) -> Probe:
    """Return the probe of a check whose result is already known."""

    async def probe(deadline: Deadline) -> Result:
        return result

    return probe


async def _why_skipped(check: Check, tasks: dict[Check, asyncio.Task[Finding]]) -> Result | None:
    """Wait for the checks that come first. Return why this one is skipped, or None if it can run."""
    for other in check.after:
        await tasks[other]
    for other in check.needs:
        before = await tasks[other]
        if before.state in (State.FAULT, State.SKIPPED):
            return skipped(f"not checked, because of {before.name} ({before.subject})")
    return None


async def _probe(check: Check, clock: Clock, limit_s: float) -> Result:
    try:
        async with asyncio.timeout(limit_s):
            return await check.probe(Deadline.after(limit_s - _MARGIN_S, clock))
    except TimeoutError:
        return fault(f"no result within {limit_s:g} s", "check the network to this host, and the load on both sides")
    except GatewayError as error:
        return fault(error.message, "see the other lines of this report")
    except Exception as error:  # noqa: BLE001 - one broken check must not hide the others; its text may hold a secret
        raised = where_raised(error)
        kinds = " < ".join(filter(None, (raised["error_type"], raised.get("error_causes", ""))))
        return fault(
            f"no result: {kinds} at {raised.get('error_from') or raised['error_at']}",
            "check by hand what this line names, and report the line: the gateway does not know this failure",
        )
