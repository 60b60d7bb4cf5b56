"""Runs one case: warm-up, alternating rounds of subject and comparators, checks of the answers, medians."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from bench.cases import Against, Bar, Case
from bench.checks import Faults
from bench.go_programs import GoMissing
from bench.loads import CONNECTIONS, Measurement, median_of, needed, with_frames, with_h2load
from bench.servers import (
    Server,
    Setup,
    start_baseline,
    start_empty,
    start_front,
    start_gateway,
    start_go_echo,
    start_go_gateway,
    start_upstream,
    upstream_counts,
)

WARM_UP_S = 1.0
FIRST_GUESS_PER_S = 12_000.0
LIMIT_BUSY = 0.9
"""A server that uses less of its core waited: for the load, the upstream, the disk, or other processes."""
SUBJECT_SETTINGS = {
    "gateway": "python -m gateway serve: SQLite, no Redis, static platform key, logs to a file, everything enabled",
    "baseline": "comparator N in place of the gateway",
    "F": "bench.front_server: the HTTP/2 front without a chain",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The number and length of rounds.

    subject: "gateway", or "baseline" to test the harness.
    against: measure only the bars against these; all if empty.
    """

    rounds: int = 5
    seconds: float = 3.0
    subject: str = "gateway"
    against: frozenset[Against] = frozenset()

    def bars_of(self, case: Case) -> list[Bar]:
        """Return the bars of the case that are to be measured."""
        return [bar for bar in case.bars if not self.against or bar.against in self.against]


@dataclass(slots=True, kw_only=True)
class Result:
    """The results of one case for one of its bars.

    cpu_ratio: the comparator's median CPU time per call divided by the subject's.
    was_limit: whether the core of both servers was busy, so that their rates can be compared.
    p99_ms: the median p99 of subject and comparator, if the load measures it.
    beside: the ratios to comparators without a bar.
    skipped: why this bar could not be measured here; nothing else is set then.
    """

    name: str
    against: str
    must: float
    aim: float | None = None
    subject_per_s: float = 0.0
    comparator_per_s: float = 0.0
    rounds: list[dict[str, Any]] = field(default_factory=list)
    beside: dict[str, dict[str, float]] = field(default_factory=dict)
    configuration: dict[str, Any] = field(default_factory=dict)
    cpu_ratio: float = 0.0
    was_limit: bool = True
    p99_ms: tuple[float, float] | None = None
    skipped: str = ""
    faults: Faults = field(default_factory=Counter)

    @property
    def ratio(self) -> float:
        """The subject's median rate divided by the comparator's; by CPU time if one of them waited."""
        if not self.was_limit and self.cpu_ratio:
            return self.cpu_ratio
        return self.rate_ratio

    @property
    def rate_ratio(self) -> float:
        """The subject's median rate divided by the comparator's."""
        return self.subject_per_s / self.comparator_per_s if self.comparator_per_s else 0.0

    @property
    def ok(self) -> bool:
        """Whether the bar is reached and all answers are correct, or the bar is skipped."""
        return bool(self.skipped) or (self.ratio >= self.must and not self.faults)


def run_case(case: Case, plan: Plan, setup: Setup, note: Callable[[str], None]) -> list[Result]:
    """Measure one case. `note` is called with the progress. Returns: a result for each bar.

    Raises: StartFailed, H2loadUnreadable.
    """
    runner = _Runner(case, plan, setup)
    note("start")
    runner.start()
    rounds: list[dict[str, Measurement]] = []
    if len(runner.servers) == 1:
        return runner.results(rounds)  # no comparator could be started
    for number in range(1, plan.rounds + 1):
        measured: dict[str, Measurement] = {}
        for server in runner.servers:
            note(f"round {number}/{plan.rounds} {server.name}")
            measured[server.name] = runner.load(server)
        rounds.append(measured)
    note("check")
    runner.check_again()
    return runner.results(rounds)


class _Runner:
    """The state of one running case. `servers` holds the subject first, then the comparators."""

    def __init__(self, case: Case, plan: Plan, setup: Setup) -> None:
        self._case, self._plan, self._stage = case, plan, setup
        self._bars = plan.bars_of(case)
        self._skipped: dict[Against, str] = {}
        self.faults: Faults = Counter()
        self.servers: list[Server] = []
        self._rates: dict[str, float] = {}
        self._sizes: dict[str, tuple[int, int]] = {}
        self._cycled: list[bytes] = []

    def start(self) -> None:
        """Start and warm up all servers. The empty handlers answer with as many bytes as the subject."""
        case, setup = self._case, self._stage
        self._upstream = start_upstream(setup)
        if case.subject == "F":
            subject = start_front(setup, case.path)
        elif self._plan.subject == "gateway":
            subject = start_gateway(setup, self._upstream, case.service, dict(case.settings))
        else:
            subject = start_baseline(setup, self._upstream, "baseline")
        self._add(subject)
        for bar in self._bars:
            try:
                comparators = self._comparators(bar.against)
            except GoMissing as missing:
                self._skipped[bar.against] = str(missing)
                continue
            for server in comparators:
                self._add(server)

    def _comparators(self, against: Against) -> list[Server]:
        """Start the servers of a comparator: the one of the bar first."""
        setup = self._stage
        if against is Against.BASELINE:
            return [start_baseline(setup, self._upstream)]
        if against is Against.GO:
            return [start_go_gateway(setup, self._upstream, dict(self._case.settings))]
        if against is Against.GO_ECHO:
            return [start_go_echo(setup)]
        longest = self._sizes[self.servers[0].name][1]
        return [start_empty(setup, longest, loop) for loop in ("asyncio", "uvloop")]

    def load(self, server: Server) -> Measurement:
        """Run the load of one round on one server and store its faults."""
        case, seconds = self._case_of(server), self._plan.seconds
        counts_events = case.counts_events and not self._is_empty(server)
        accepted = upstream_counts(self._upstream).get("accepted", 0) if counts_events else 0
        used = self._upstream.process.cpu_s()
        if case.all_alike:
            request = case.requests(self._stage.credentials, 1)[0]
            sizes = self._sizes[server.name]
            measured = with_h2load(self._stage, server, case.path, request, seconds, sizes, case.streams)
        else:
            measured = self._with_frames(server, seconds)
        if counts_events:
            arrived = upstream_counts(self._upstream).get("accepted", 0) - accepted
            # What was in flight at the end is not counted by h2load, nor what it sent while it read its last answers.
            least, most = measured.calls, measured.calls + 2 * CONNECTIONS * case.streams
            if not least * case.events_per_call <= arrived <= most * case.events_per_call:
                measured.faults[f"{arrived} events arrived for {measured.calls} answers"] += 1
            used = self._upstream.process.cpu_s() - used
            measured = replace(measured, upstream_busy=used * measured.per_s / max(measured.calls, 1))
        self._add_faults(server, measured.faults)
        return self._in_calls_of_the_subject(measured, case)

    def check_again(self) -> None:
        """Check a sample of answers after the rounds."""
        for server in self.servers:
            if not self._is_empty(server):
                self._with_frames(server, min(WARM_UP_S, self._plan.seconds) / 2, note=True)

    def results(self, rounds: list[dict[str, Measurement]]) -> list[Result]:
        """Return the result of all rounds for each bar."""
        return [self._result(bar, rounds) for bar in self._bars]

    def _result(self, bar: Bar, rounds: list[dict[str, Measurement]]) -> Result:
        subject, comparator = self.servers[0].name, bar.against.value
        if bar.against in self._skipped:
            return Result(
                name=self._case.name, against=comparator, must=bar.must, aim=bar.aim, skipped=self._skipped[bar.against]
            )
        names = [subject, comparator, *(["E_uvloop"] if bar.against is Against.EMPTY else [])]
        loads = {name: [measured[name] for measured in rounds] for name in names}
        medians = {name: median_of(each) for name, each in loads.items()}
        cpu_us = {name: statistics.median(one.cpu_us for one in each) for name, each in loads.items()}
        p99_ms = [statistics.median(one.p99_ms or 0.0 for one in loads[name]) for name in (subject, comparator)]
        faults = Counter({fault: count for fault, count in self.faults.items() if fault.partition(":")[0] in names})
        if bar.p99_no_worse and p99_ms[0] > p99_ms[1]:
            faults[f"p99 of {p99_ms[0]:.1f} ms, above the comparator's {p99_ms[1]:.1f} ms"] += 1
        return Result(
            name=self._case.name,
            against=comparator,
            must=bar.must,
            aim=bar.aim,
            subject_per_s=medians[subject],
            comparator_per_s=medians[comparator],
            cpu_ratio=cpu_us[comparator] / cpu_us[subject] if cpu_us[subject] else 0.0,
            was_limit=all(
                statistics.median(one.server_busy for one in loads[name]) >= LIMIT_BUSY
                for name in (subject, comparator)
            ),
            p99_ms=(p99_ms[0], p99_ms[1]) if all(p99_ms) else None,
            rounds=[_round({name: measured[name] for name in names}, subject, comparator) for measured in rounds],
            beside={
                name: {"ratio": medians[subject] / medians[name], "comparator_per_s": medians[name]}
                for name in names[2:]
                if medians[name]
            },
            configuration=self._configuration(),
            faults=faults,
        )

    def _add(self, server: Server) -> None:
        self.servers.append(server)
        self._rates[server.name] = FIRST_GUESS_PER_S
        self._warm_up(server)

    def _warm_up(self, server: Server) -> None:
        seconds = min(WARM_UP_S, self._plan.seconds)
        self._with_frames(server, seconds, note=True)

    def _with_frames(self, server: Server, seconds: float, *, note: bool = False) -> Measurement:
        """Load with the project's generator, check every answer and store the rate and the answer sizes."""
        case, is_empty = self._case_of(server), self._is_empty(server)
        if is_empty:
            requests = self._cycled
        else:
            requests = case.requests(self._stage.credentials, needed(case, self._rates[server.name], seconds))
            self._cycled = requests
        measured, answers = with_frames(
            self._stage,
            server,
            case.path,
            requests,
            seconds,
            cycle=is_empty or case.all_alike,
            keep=True,
            streams=case.streams,
        )
        if not is_empty:
            measured.faults.update(case.check(self._stage.credentials, answers))
        if not answers:
            measured.faults["no answers"] += 1
        if answers:
            lengths = [len(answer) for answer in answers]
            self._sizes[server.name] = (min(lengths), max(lengths))
        self._rates[server.name] = max(measured.per_s, 100.0)
        if note:
            self._add_faults(server, measured.faults)
        return self._in_calls_of_the_subject(measured, case)

    def _in_calls_of_the_subject(self, measured: Measurement, case: Case) -> Measurement:
        """Return the measurement with rates and times that count events, converted to calls of the subject's size."""
        share = case.events_per_call / self._case.events_per_call
        return replace(measured, per_s=measured.per_s * share, cpu_us=measured.cpu_us / share)

    def _case_of(self, server: Server) -> Case:
        """Return the case that this server runs: N may have another one."""
        return self._case.comparator or self._case if server.name == "N" else self._case

    def _is_empty(self, server: Server) -> bool:
        return server.name in ("E", "E_uvloop")

    def _add_faults(self, server: Server, faults: Faults) -> None:
        for fault, count in faults.items():
            self.faults[f"{server.name}: {fault}"] += count

    def _configuration(self) -> dict[str, Any]:
        case, setup = self._case, self._stage
        return {
            "about": case.about,
            "events_per_call": case.events_per_call,
            "settings": dict(case.settings),
            "subject": self.servers[0].name,
            "subject_settings": SUBJECT_SETTINGS["F" if case.subject == "F" else self._plan.subject],
            "front": setup.front,
            "load": "h2load" if case.all_alike else "bench.load_generator",
            "connections": CONNECTIONS,
            "streams_per_connection": case.streams,
            "seconds": self._plan.seconds,
            "upstream": "bench.upstream (HMAC checked)" if case.counts_events else "none",
            "server_core": setup.server_core,
            "load_core": setup.load_core,
            "answer_bytes": self._sizes[self.servers[0].name],
        }


def _round(measured: dict[str, Measurement], subject: str, comparator: str) -> dict[str, Any]:
    by = measured[subject], measured[comparator]
    details: dict[str, Any] = {
        "subject_per_s": by[0].per_s,
        "comparator_per_s": by[1].per_s,
        "ratio": by[0].per_s / by[1].per_s if by[1].per_s else 0.0,
    }
    for name, each in measured.items():
        details[name] = {
            "per_s": each.per_s,
            "server_busy": each.server_busy,
            "load_busy": each.load_busy,
            "upstream_busy": each.upstream_busy,
            "server_cpu_us_per_call": each.cpu_us,
            "p50_ms": each.p50_ms,
            "p99_ms": each.p99_ms,
            "answers_per_receive": each.answers_per_receive,
        }
    return details
