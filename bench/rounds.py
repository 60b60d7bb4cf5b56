"""Runs one case: warm-up, alternating rounds of subject and comparators, checks of the answers, medians."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from bench.cases import Against, Case
from bench.checks import Faults
from bench.loads import CONNECTIONS, Measurement, median_of, needed, with_frames, with_h2load
from bench.servers import (
    Server,
    Setup,
    start_baseline,
    start_empty,
    start_gateway,
    start_upstream,
    upstream_counts,
)

WARM_UP_S = 1.0
FIRST_GUESS_PER_S = 12_000.0
SUBJECT_SETTINGS = {
    "gateway": "python -m gateway serve: SQLite, no Redis, static platform key, logs to a file, everything enabled",
    "baseline": "comparator N in place of the gateway",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The number and length of rounds. `subject` is "gateway", or "baseline" to test the harness."""

    rounds: int = 3
    seconds: float = 3.0
    subject: str = "gateway"


@dataclass(slots=True, kw_only=True)
class Result:
    """The results of one case. `beside` holds the ratios to comparators without a bar."""

    name: str
    against: str
    bar: float
    subject_per_s: float
    comparator_per_s: float
    rounds: list[dict[str, Any]]
    beside: dict[str, dict[str, float]]
    configuration: dict[str, Any]
    faults: Faults = field(default_factory=Counter)

    @property
    def ratio(self) -> float:
        """The subject's median divided by the comparator's."""
        return self.subject_per_s / self.comparator_per_s if self.comparator_per_s else 0.0

    @property
    def ok(self) -> bool:
        """Whether the bar is reached and all answers are correct."""
        return self.ratio >= self.bar and not self.faults


def run_case(case: Case, plan: Plan, setup: Setup, note: Callable[[str], None]) -> Result:
    """Measure one case. `note` is called with the progress. Raises: StartFailed, H2loadUnreadable."""
    runner = _Runner(case, plan, setup)
    note("start")
    runner.start()
    rounds: list[dict[str, Measurement]] = []
    for number in range(1, plan.rounds + 1):
        measured: dict[str, Measurement] = {}
        for server in runner.servers:
            note(f"round {number}/{plan.rounds} {server.name}")
            measured[server.name] = runner.load(server)
        rounds.append(measured)
    note("check")
    runner.check_again()
    return runner.result(rounds)


class _Runner:
    """The state of one running case. `servers` holds the subject first and the bar's comparator second."""

    def __init__(self, case: Case, plan: Plan, setup: Setup) -> None:
        self._case, self._plan, self._stage = case, plan, setup
        self.faults: Faults = Counter()
        self.servers: list[Server] = []
        self._rates: dict[str, float] = {}
        self._sizes: dict[str, tuple[int, int]] = {}
        self._cycled: list[bytes] = []

    def start(self) -> None:
        """Start and warm up all servers. The empty handlers answer with as many bytes as the subject."""
        case, setup = self._case, self._stage
        self._upstream = start_upstream(setup)
        if self._plan.subject == "gateway":
            subject = start_gateway(setup, self._upstream, case.service, dict(case.settings))
        else:
            subject = start_baseline(setup, self._upstream, "baseline")
        self.servers.append(subject)
        self._rates[subject.name] = FIRST_GUESS_PER_S
        self._warm_up(subject)
        if case.against is Against.BASELINE:
            self._add(start_baseline(setup, self._upstream))
        else:
            longest = self._sizes[subject.name][1]
            for loop in ("asyncio", "uvloop"):
                self._add(start_empty(setup, longest, loop))

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
            least, most = measured.calls, measured.calls + CONNECTIONS * case.streams  # the rest were still in flight
            if not least * case.events_per_call <= arrived <= most * case.events_per_call:
                measured.faults[f"{arrived} events arrived for {measured.calls} answers"] += 1
            used = self._upstream.process.cpu_s() - used
            measured = replace(measured, upstream_busy=used * measured.per_s / max(measured.calls, 1))
        self._add_faults(server, measured.faults)
        # Rates count events, converted to calls of the subject's size.
        return replace(measured, per_s=measured.per_s * case.events_per_call / self._case.events_per_call)

    def check_again(self) -> None:
        """Check a sample of answers after the rounds."""
        for server in self.servers:
            if not self._is_empty(server):
                self._with_frames(server, min(WARM_UP_S, self._plan.seconds) / 2, note=True)

    def result(self, rounds: list[dict[str, Measurement]]) -> Result:
        """Return the result of all rounds."""
        subject, comparator, *further = [server.name for server in self.servers]
        medians = {server.name: median_of([measured[server.name] for measured in rounds]) for server in self.servers}
        return Result(
            name=self._case.name,
            against=self._case.against.value,
            bar=self._case.bar,
            subject_per_s=medians[subject],
            comparator_per_s=medians[comparator],
            rounds=[_round(measured, subject, comparator) for measured in rounds],
            beside={
                name: {"ratio": medians[subject] / medians[name], "comparator_per_s": medians[name]}
                for name in further
                if medians[name]
            },
            configuration=self._configuration(),
            faults=self.faults,
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
        # Rates count events, converted to calls of the subject's size.
        return replace(measured, per_s=measured.per_s * case.events_per_call / self._case.events_per_call)

    def _case_of(self, server: Server) -> Case:
        """Return the case that this server runs: N may have another one."""
        return self._case.comparator or self._case if server.name == "N" else self._case

    def _is_empty(self, server: Server) -> bool:
        return server.name.startswith("E")

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
            "subject_settings": SUBJECT_SETTINGS[self._plan.subject],
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
