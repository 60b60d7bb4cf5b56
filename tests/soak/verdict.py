"""What must hold at the end of a soak, as a list of checks with their figures."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from tests.chain_proof import assert_chain_holds
from tests.examples.player import assert_booked_once, entries
from tests.faults.event_load import Load, Report
from tests.gateway_process import GatewayProcess, resident_mib
from tests.soak.load import NOT_FOUND, UNARY, Callers, Ended, p99_ms, unexpected
from tests.soak.site import Site

SLICE_S = 5.0
SLOWER_MUST = 1.10
MEMORY_MUST = 1.20
DESCRIPTORS_MUST = 20
_NO_PROGRESS_S = 120.0
"""Events of one user leave one after the other, so a backlog may take minutes. A lost event never comes."""
_RECORDED_WITHIN_S = 30.0
"""The wallet records an outcome again until the gateway has it."""
_OWN = frozenset({"INTERNAL", "UNKNOWN", "CANCELLED"})
"""INTERNAL is the reason of an unexpected exception. UNKNOWN and CANCELLED are statuses that came without a reason."""
_CALM_LEAST_S = 10.0
"""So long after a fault, a watcher that has to open its board again has its first update."""
_CAUSES = frozenset({"error_type", "trouble", "exit_code"})
"""A line at error level has at least one of these fields."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One condition, whether it holds, and its figure in words."""

    name: str
    holds: bool
    figure: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A fault, from its injection until calls are judged again (monotonic)."""

    name: str
    began_at: float
    over_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Memory and descriptors of one process at one moment."""

    at: float
    pid: int
    memory_mib: float
    descriptors: int


def sample(gateway: GatewayProcess) -> Sample | None:
    """Measure a gateway; None while it does not run."""
    try:
        pid = gateway.pid
        return Sample(
            at=time.monotonic(),
            pid=pid,
            memory_mib=resident_mib(pid),
            descriptors=len(list(Path(f"/proc/{pid}/fd").iterdir())),
        )
    except (AssertionError, OSError):
        return None


async def judge(
    site: Site, callers: Callers, windows: Sequence[Window], samples: Sequence[Sample], folder: Path
) -> list[Check]:
    """Return every check. Call it once the callers have ended."""
    calm = [one for one in callers.mixed.ended if not any(_is_in(one, window) for window in windows)]
    began_at = min((one.at for one in callers.mixed.ended), default=0.0)
    ended_at = max((one.at for one in callers.mixed.ended), default=0.0)
    return [
        await _events("direct events", callers.direct, site, Report.ACCEPTED),
        await _events("durable events", callers.durable, site, Report.QUEUED),
        await asyncio.to_thread(_moves, site, callers),
        await asyncio.to_thread(_chain, site, folder),
        failures(calm),
        methods(calm),
        own_faults(callers.mixed.ended, windows),
        watchers(callers.mixed.updates, windows, began_at, ended_at),
        p99(calm, windows),
        memory(samples),
        descriptors(samples),
        logs([gateway.log_text for gateway in site.gateways]),
    ]


async def _events(name: str, load: Load, site: Site, acknowledged: Report) -> Check:
    """Exactly once at Phoenix, where acknowledged; at most once otherwise."""
    began_at = progress_at = time.monotonic()
    most = -1
    while True:
        found = await asyncio.to_thread(load.verdict, site.sandbox)
        counts = found.get(acknowledged, Counter())
        holds = exactly_once(found, acknowledged)
        if counts[1] > most:
            most, progress_at = counts[1], time.monotonic()
        if holds or time.monotonic() - progress_at > _NO_PROGRESS_S:
            break
        await asyncio.sleep(0.5)
    figure = f"{counts[1]:,} of {counts.total():,} acknowledged ones exactly once"
    figure += f", the last one {progress_at - began_at:.0f} s after the load"
    if counts[0]:
        missing = await asyncio.to_thread(load.never_taken, site.sandbox)
        figure += f"; missing: {await asyncio.to_thread(_stored, site, missing)}"
    if doubled := {report.value: dict(each) for report, each in found.items() if max(each) > 1}:
        figure += f"; more than once: {doubled}"
    return Check(name=name, holds=holds, figure=figure)


def exactly_once(found: Mapping[Report, Counter[int]], acknowledged: Report) -> bool:
    """Tell whether Phoenix has each acknowledged event once, and no event twice. Args: `found`: of `Load.verdict`."""
    return set(found.get(acknowledged, ())) == {1} and all(max(counts) <= 1 for counts in found.values())


def _stored(site: Site, event_ids: set[str]) -> str:
    """Say what the store of durable events knows about these ids: state, reason, detail, attempts, how many."""
    query = """SELECT state, reason, detail, attempts, count(*), min(accepted_at_us), max(accepted_at_us)
        FROM durable_events WHERE event_id = ANY(%s) GROUP BY 1, 2, 3, 4 ORDER BY 5 DESC LIMIT 10"""
    with psycopg.connect(site.postgres.url) as connection:
        return "; ".join(str(row) for row in connection.execute(query, [list(event_ids)]))


def _moves(site: Site, callers: Callers) -> Check:
    """Each answered move has one entry in the ledger and one recorded outcome of the same bytes."""
    wrong, overtaken = Counter[str](), 0
    treatments = Counter(callers.wallet.moves.values())
    for key, treatment in callers.wallet.moves.items():
        if treatment == "success":
            trouble = _trouble_of(site, key)
            if isinstance(trouble, str):
                wrong[trouble] += 1
            else:
                overtaken += trouble
        elif len(entries(site.wallet, key)) > 1:
            wrong["booked more than once"] += 1
    others = {name: count for name, count in treatments.items() if name != "success"}
    figure = f"{treatments['success'] - wrong.total():,} of {treatments['success']:,} moves exactly once"
    figure += f", {overtaken} of them with an attempt that outlived its lease" if overtaken else ""
    figure += f"; not answered: {others}" if others else ""
    figure += f"; wrong: {dict(wrong)}" if wrong else ""
    return Check(name="wallet moves", holds=not wrong and not others and treatments["success"] > 0, figure=figure)


def _trouble_of(site: Site, key: str) -> str | bool:
    """Say what is wrong with a move that was answered. If it is booked and recorded once, return whether an attempt at
    it outlived its lease: leases are short here, and faults long."""
    until = time.monotonic() + _RECORDED_WITHIN_S
    while True:
        try:
            evidence = assert_booked_once(site.gateways[0], site.wallet, "reserve_cash", key)
        except Exception as error:
            if time.monotonic() > until:
                where = traceback.extract_tb(error.__traceback__)[-1].line
                return f"{type(error).__name__}: {error} at {where}"[:300]
            time.sleep(0.2)
        else:
            return bool(evidence.incidents)


def _chain(site: Site, folder: Path) -> Check:
    until = time.monotonic() + 30
    while True:  # the newest changes are chained within a second
        try:
            report = assert_chain_holds(site.gateways[0], folder)
        except AssertionError as error:
            if time.monotonic() > until:
                return Check(name="evidence chain", holds=False, figure=str(error)[:300])
            time.sleep(0.5)
        else:
            return Check(name="evidence chain", holds=True, figure=f"proven: {_short(report)}")


def _short(report: dict[str, Any]) -> str:
    counts = {name: value for name, value in report.items() if isinstance(value, int) and not isinstance(value, bool)}
    return ", ".join(f"{value:,} {name}" for name, value in counts.items())


def failures(calm: Sequence[Ended]) -> Check:
    """No call fails while there is no fault."""
    failed = unexpected(calm)
    figure = f"{failed.total():,} of {len(calm):,} calls failed" + (
        f": {dict(failed.most_common(5))}" if failed else ""
    )
    return Check(name="calls between faults", holds=bool(calm) and not failed, figure=figure)


def methods(calm: Sequence[Ended]) -> Check:
    """Each method was called, and its success was seen where there is one."""
    answered = {one.method for one in calm if not one.reason or one.method in NOT_FOUND}
    missing = sorted(set(UNARY) - answered)
    return Check(
        name="all methods",
        holds=not missing,
        figure=f"{len(answered)} of {len(UNARY)} answered" + (f"; not: {', '.join(missing)}" if missing else ""),
    )


def watchers(updates: Sequence[float], windows: Sequence[Window], began_at: float, ended_at: float) -> Check:
    """Updates of a board that changes all the time come between any two faults."""
    edges = [began_at, *(edge for window in windows for edge in (window.began_at, window.over_at)), ended_at]
    calm = [(start, end) for start, end in zip(edges[::2], edges[1::2], strict=True) if end - start >= _CALM_LEAST_S]
    silent = sum(not any(start <= at <= end for at in updates) for start, end in calm)
    figure = f"{len(updates):,} updates; none in {silent} of {len(calm)} calm times"
    return Check(name="watchers", holds=bool(updates) and not silent, figure=figure)


def own_faults(ended: Sequence[Ended], windows: Sequence[Window]) -> Check:
    """No fault of another part is an error of the gateway itself, nor ends a call without a reason it could give."""
    found = Counter(f"{one.method} {one.reason} {_when(one, windows)}" for one in ended if one.reason in _OWN)
    figure = f"{found.total()} of {len(ended):,} calls" + (f": {dict(found.most_common(5))}" if found else "")
    return Check(name="faults of its own", holds=bool(ended) and not found, figure=figure)


def _when(call: Ended, windows: Sequence[Window]) -> str:
    """Tell which fault was the last to begin when the call ended, and how long before."""
    begun = [window for window in windows if window.began_at <= call.at]
    return f"{call.at - begun[-1].began_at:.1f} s after {begun[-1].name} began" if begun else "before the first fault"


def p99(calm: Sequence[Ended], windows: Sequence[Window]) -> Check:
    """Compare slices of 5 s before the first fault with those after it, by the median of their p99.

    On a machine that others use, slices differ by themselves: the later median may reach the slowest of the first.
    """
    first_fault = min((window.began_at for window in windows), default=float("inf"))
    slices: dict[bool, dict[int, list[Ended]]] = {False: {}, True: {}}
    for one in calm:
        slices[one.at > first_fault].setdefault(int(one.at / SLICE_S), []).append(one)
    before, after = ([p99_ms(calls) for calls in slices[later].values() if len(calls) >= 20] for later in (False, True))
    if not before or not after:
        return Check(name="p99 between faults", holds=not windows, figure="too few calls to compare")
    ratio = statistics.median(after) / statistics.median(before)
    holds = ratio <= SLOWER_MUST or statistics.median(after) <= max(before)
    figure = (
        f"{statistics.median(after):.1f} ms, {ratio:.2f} of the first {statistics.median(before):.1f} ms "
        f"(first slices {min(before):.1f} to {max(before):.1f} ms); slowest methods: {_slowest(calm, first_fault)}"
    )
    return Check(name="p99 between faults", holds=holds, figure=figure)


def _slowest(calm: Sequence[Ended], first_fault: float) -> str:
    """Return the three methods with the highest median after the first fault, with the median before it."""
    took: dict[str, dict[bool, list[float]]] = {}
    for one in calm:
        if not one.reason:
            took.setdefault(one.method, {False: [], True: []})[one.at > first_fault].append(one.took_s * 1000)
    medians = {
        method: (statistics.median(times[True]), statistics.median(times[False]))
        for method, times in took.items()
        if times[False] and times[True]
    }
    slowest = sorted(medians.items(), key=lambda one: -one[1][0])[:3]
    return ", ".join(f"{method} {after:.0f} ms ({before:.0f})" for method, (after, before) in slowest)


def memory(samples: Sequence[Sample]) -> Check:
    """No process grows by a fifth after its caches are full."""
    growth = _growth(samples, "memory_mib", statistics.median)
    worst = max((late / early for early, late in growth), default=1.0)
    figure = f"{worst:.2f} of the beginning in the worst of {len(growth)} processes that lived long enough"
    return Check(name="memory", holds=bool(growth) and worst <= MEMORY_MUST, figure=figure)


def descriptors(samples: Sequence[Sample]) -> Check:
    """No process keeps opening files and sockets."""
    growth = _growth(samples, "descriptors", min)  # connections come and go with the load; a leak raises the least
    worst = max((late - early for early, late in growth), default=0.0)
    holds = bool(growth) and worst <= DESCRIPTORS_MUST
    return Check(name="descriptors", holds=holds, figure=f"{worst:+.0f} in the worst of {len(growth)} processes")


def _growth(
    samples: Sequence[Sample], member: str, level: Callable[[Sequence[float]], float]
) -> list[tuple[float, float]]:
    """Return the levels of the second and the last quarter of each process's samples; the first is for caches."""
    of_process: dict[int, list[float]] = {}
    for one in samples:
        of_process.setdefault(one.pid, []).append(getattr(one, member))
    found = []
    for values in of_process.values():
        quarter = len(values) // 4
        if quarter >= 2:
            found.append((level(values[quarter : 2 * quarter]), level(values[-quarter:])))
    return found


def logs(texts: Sequence[str]) -> Check:
    """Every line is JSON with a level, and a line at error level has its cause."""
    without: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    for line in [line for text in texts for line in text.splitlines()]:
        if not line.startswith("{") or not {"level", "event"} <= (fields := json.loads(line)).keys():
            without[f"no log line: {line[:120]}"] += 1
        elif fields["level"] in ("error", "critical"):
            seen[str(fields["event"])] += 1
            if _CAUSES.isdisjoint(fields):
                without[str(fields["event"])] += 1
    figure = f"{seen.total()} lines at error level, each with its cause: {dict(seen.most_common(6))}"
    return Check(
        name="log",
        holds=not without and any(texts),
        figure=figure if not without else f"without a cause: {dict(without.most_common(5))}",
    )


def _is_in(call: Ended, window: Window) -> bool:
    return call.at < window.over_at and call.at + call.took_s > window.began_at
