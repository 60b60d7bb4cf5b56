"""Runs one case: warm-up, alternating rounds of subject and comparators, answers checked, medians compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from bench.cases import Against, Case
from bench.checks import Faults
from bench.contenders import (
    Contender,
    Stage,
    start_empty,
    start_gateway,
    start_obvious,
    start_upstream,
    upstream_counts,
)
from bench.loads import CONNECTIONS, Measured, median_of, needed, with_frames, with_h2load

WARM_UP_S = 1.0
FIRST_GUESS_PER_S = 12_000.0
SUBJECT_SETTINGS = {
    "gateway": "python -m gateway serve: SQLite, no Redis, static platform key, logs to a file, nothing switched off",
    "obvious": "comparator N as a stand-in",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How long and how often; `subject` is "gateway", or "obvious" to try the harness without it."""

    rounds: int = 3
    seconds: float = 3.0
    subject: str = "gateway"


@dataclass(slots=True, kw_only=True)
class Result:
    """One case's figures. `beside`: ratios to further comparators, which no bar is about."""

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
        """Subject's median over comparator's."""
        return self.subject_per_s / self.comparator_per_s if self.comparator_per_s else 0.0

    @property
    def ok(self) -> bool:
        """The bar is reached with right answers."""
        return self.ratio >= self.bar and not self.faults


def run_case(case: Case, plan: Plan, stage: Stage, note: Callable[[str], None]) -> Result:
    """Measure one case; `note` hears what is being done. Raises: StartFailed, H2loadUnreadable."""
    runner = _Runner(case, plan, stage)
    note("start")
    runner.start()
    rounds: list[dict[str, Measured]] = []
    for number in range(1, plan.rounds + 1):
        measured: dict[str, Measured] = {}
        for contender in runner.contenders:
            note(f"round {number}/{plan.rounds} {contender.name}")
            measured[contender.name] = runner.load(contender)
        rounds.append(measured)
    note("check")
    runner.check_again()
    return runner.result(rounds)


class _Runner:
    """The state of one case while it runs. `contenders`: the subject first, the bar's comparator second."""

    def __init__(self, case: Case, plan: Plan, stage: Stage) -> None:
        self._case, self._plan, self._stage = case, plan, stage
        self.faults: Faults = Counter()
        self.contenders: list[Contender] = []
        self._rates: dict[str, float] = {}
        self._sizes: dict[str, tuple[int, int]] = {}
        self._cycled: list[bytes] = []

    def start(self) -> None:
        """Start everything and warm it up. The empty handlers answer as many bytes as the subject did."""
        case, stage = self._case, self._stage
        self._upstream = start_upstream(stage)
        if self._plan.subject == "gateway":
            subject = start_gateway(stage, self._upstream, case.service, dict(case.settings))
        else:
            subject = start_obvious(stage, self._upstream, "stand-in")
        self.contenders.append(subject)
        self._rates[subject.name] = FIRST_GUESS_PER_S
        self._warm_up(subject)
        if case.against is Against.OBVIOUS:
            self._add(start_obvious(stage, self._upstream))
        else:
            longest = self._sizes[subject.name][1]
            for loop in ("asyncio", "uvloop"):
                self._add(start_empty(stage, longest, loop))

    def load(self, contender: Contender) -> Measured:
        """Run one round's load on one contender and keep what was wrong."""
        case, seconds = self._case_of(contender), self._plan.seconds
        counts_events = case.counts_events and not self._is_empty(contender)
        accepted = upstream_counts(self._upstream).get("accepted", 0) if counts_events else 0
        used = self._upstream.process.cpu_s()
        if case.all_alike:
            request = case.requests(self._stage.world, 1)[0]
            sizes = self._sizes[contender.name]
            measured = with_h2load(self._stage, contender, case.path, request, seconds, sizes, case.streams)
        else:
            measured = self._with_frames(contender, seconds)
        if counts_events:
            arrived = upstream_counts(self._upstream).get("accepted", 0) - accepted
            least, most = measured.calls, measured.calls + CONNECTIONS * case.streams  # some were on their way
            if not least * case.events_per_call <= arrived <= most * case.events_per_call:
                measured.faults[f"{arrived} events arrived for {measured.calls} answers"] += 1
            used = self._upstream.process.cpu_s() - used
            measured = replace(measured, upstream_busy=used * measured.per_s / max(measured.calls, 1))
        self._note_faults(contender, measured.faults)
        # By events, told in calls of the subject's size.
        return replace(measured, per_s=measured.per_s * case.events_per_call / self._case.events_per_call)

    def check_again(self) -> None:
        """Check a last sample: what was right before the rounds must be right after them."""
        for contender in self.contenders:
            if not self._is_empty(contender):
                self._with_frames(contender, min(WARM_UP_S, self._plan.seconds) / 2, note=True)

    def result(self, rounds: list[dict[str, Measured]]) -> Result:
        """Put the figures together."""
        subject, comparator, *further = [contender.name for contender in self.contenders]
        medians = {
            contender.name: median_of([measured[contender.name] for measured in rounds])
            for contender in self.contenders
        }
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

    def _add(self, contender: Contender) -> None:
        self.contenders.append(contender)
        self._rates[contender.name] = FIRST_GUESS_PER_S
        self._warm_up(contender)

    def _warm_up(self, contender: Contender) -> None:
        seconds = min(WARM_UP_S, self._plan.seconds)
        self._with_frames(contender, seconds, note=True)

    def _with_frames(self, contender: Contender, seconds: float, *, note: bool = False) -> Measured:
        """Load with the project's generator, check every answer, remember rate and sizes."""
        case, is_empty = self._case_of(contender), self._is_empty(contender)
        if is_empty:
            requests = self._cycled
        else:
            requests = case.requests(self._stage.world, needed(case, self._rates[contender.name], seconds))
            self._cycled = requests
        measured, answers = with_frames(
            self._stage,
            contender,
            case.path,
            requests,
            seconds,
            cycle=is_empty or case.all_alike,
            keep=True,
            streams=case.streams,
        )
        if not is_empty:
            measured.faults.update(case.check(self._stage.world, answers))
        if not answers:
            measured.faults["no answers"] += 1
        if answers:
            lengths = [len(answer) for answer in answers]
            self._sizes[contender.name] = (min(lengths), max(lengths))
        self._rates[contender.name] = max(measured.per_s, 100.0)
        if note:
            self._note_faults(contender, measured.faults)
        # By events, told in calls of the subject's size.
        return replace(measured, per_s=measured.per_s * case.events_per_call / self._case.events_per_call)

    def _case_of(self, contender: Contender) -> Case:
        """What this one does: the case, or N's in place of it."""
        return self._case.comparator or self._case if contender.name == "N" else self._case

    def _is_empty(self, contender: Contender) -> bool:
        return contender.name.startswith("E")

    def _note_faults(self, contender: Contender, faults: Faults) -> None:
        for fault, count in faults.items():
            self.faults[f"{contender.name}: {fault}"] += count

    def _configuration(self) -> dict[str, Any]:
        case, stage = self._case, self._stage
        return {
            "about": case.about,
            "events_per_call": case.events_per_call,
            "settings": dict(case.settings),
            "subject": self.contenders[0].name,
            "subject_settings": SUBJECT_SETTINGS[self._plan.subject],
            "load": "h2load" if case.all_alike else "bench.frames",
            "connections": CONNECTIONS,
            "streams_per_connection": case.streams,
            "seconds": self._plan.seconds,
            "upstream": "bench.upstream (HMAC checked)" if case.counts_events else "none",
            "server_core": stage.server_core,
            "load_core": stage.load_core,
            "answer_bytes": self._sizes[self.contenders[0].name],
        }


def _round(measured: dict[str, Measured], subject: str, comparator: str) -> dict[str, Any]:
    by = measured[subject], measured[comparator]
    told: dict[str, Any] = {
        "subject_per_s": by[0].per_s,
        "comparator_per_s": by[1].per_s,
        "ratio": by[0].per_s / by[1].per_s if by[1].per_s else 0.0,
    }
    for name, each in measured.items():
        told[name] = {
            "per_s": each.per_s,
            "server_busy": each.server_busy,
            "load_busy": each.load_busy,
            "upstream_busy": each.upstream_busy,
            "server_cpu_us_per_call": each.cpu_us,
            "p50_ms": each.p50_ms,
            "p99_ms": each.p99_ms,
            "answers_per_receive": each.answers_per_receive,
        }
    return told
