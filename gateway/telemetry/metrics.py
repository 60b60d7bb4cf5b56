"""The metrics as small methods: other rooms call them with names and numbers, and know no Prometheus.

Rooms below take them as callbacks (`on_event=metrics.key_event`). Every label takes values of a closed set; what is not
in it counts as OTHER. Series that one alerts on exist from the start with 0, so that their first increase is seen. What
is hot is resolved beforehand. Counting is safe from any thread but for what most calls count: `loop_series.py` and
`call_series.py` belong to the event loop's. Names and meanings: `metric_names.py`. Values of labels: `label_values.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from gateway import errors
from gateway.core.switches import TargetKind
from gateway.core.types import Environment
from gateway.core.wallet import Disposition, HeaderAnomaly, Verdict
from gateway.telemetry import metric_names as names
from gateway.telemetry.call_series import CallSeries
from gateway.telemetry.date_series import DateSeries
from gateway.telemetry.histogram_cells import CellFamily
from gateway.telemetry.label_values import (
    AUDIT_EVENTS,
    CACHE_PURPOSES,
    CACHE_RESULTS,
    CHAIN_FAILURE_KINDS,
    CIRCUITS,
    CLOCK_DIRECTIONS,
    EVENT_SENDING_EVENTS,
    LIVE_BOARD_EVENTS,
    NOT_READY_CAUSES,
    PLATFORM_KEY_EVENT,
    PLATFORM_KEY_EVENTS,
    POLICY_EVENTS,
    SECRET_FILE_EVENT,
    SECRET_FILE_EVENTS,
    SECRET_READ_RESULTS,
    SECRET_STORES,
    SIGNER_EVENT,
    SIGNER_EVENTS,
    SPAN_RESULTS,
    STATUSES,
    STORE_ERROR_KINDS,
    STORE_FAILURE_CAUSES,
    SURFACES,
    UNANSWERED,
)
from gateway.telemetry.library_series import Children, counter, gauge, histogram
from gateway.telemetry.logs import lines_lost
from gateway.telemetry.loop_series import LoopCounter, LoopHistogram
from gateway.telemetry.metrics_protobuf import family_parts
from gateway.telemetry.page_format import OPEN_END, PageFormat
from gateway.telemetry.queue_series import QueueSeries
from gateway.telemetry.redis_series import RedisSeries
from gateway.telemetry.spans import CURRENT, Span

_ENVIRONMENTS = frozenset(environment.value for environment in Environment)
_VERDICTS = frozenset(verdict.value for verdict in Verdict)
_DISPOSITIONS = frozenset(disposition.value for disposition in Disposition)
_UNREADABLE_STATES = frozenset({"waiting", "settled"})
_HEADER_ANOMALIES = frozenset(anomaly.value for anomaly in HeaderAnomaly)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildInfo:
    """What runs here. `revision`: the commit, empty if unknown; `python`: its version."""

    version: str
    revision: str
    python: str


class Metrics:
    """All metrics of one process, in the registry that it is given."""

    def __init__(self, registry: CollectorRegistry, *, methods: Iterable[str], build: BuildInfo) -> None:
        """Register everything. Args: `methods`: the full paths of all methods served; registry: without these yet."""
        self._registry = registry
        served = frozenset(methods)
        codes, reasons = _statuses_and_reasons()
        self._calls = CallSeries(served, codes, reasons)
        registry.register(self._calls)

        statuses = {str(status) for status in STATUSES} | {f"{number}xx" for number in range(1, 6)} | UNANSWERED
        self._requests = LoopCounter(names.UPSTREAM_REQUESTS, (SURFACES, statuses), registry)
        self._request_seconds = LoopHistogram(names.UPSTREAM_SECONDS, (SURFACES,), registry)
        self._tries = LoopHistogram(names.UPSTREAM_TRIES, (SURFACES,), registry)
        self._withheld = Children(counter(names.RETRIES_WITHHELD, registry), (SURFACES,)).primed()
        self._rejected = Children(counter(names.CREDENTIALS_REJECTED, registry), (SURFACES,)).primed()

        self._circuits = Children(counter(names.CIRCUIT_CHANGES, registry), (SURFACES, CIRCUITS)).primed()
        self._sending = Children(counter(names.EVENT_SENDING_EVENTS, registry), (EVENT_SENDING_EVENTS,)).primed()

        self.queue = QueueSeries(registry)
        """Those of durable events."""
        self.redis = RedisSeries(registry)
        """Those of the cache that replicas share."""

        self._clock_steps = Children(counter(names.CLOCK_STEPS, registry), (CLOCK_DIRECTIONS,)).primed()
        self._key_events = Children(counter(names.PLATFORM_KEY_EVENTS, registry), (PLATFORM_KEY_EVENTS,)).primed()
        self._file_events = Children(counter(names.SECRET_FILE_EVENTS, registry), (SECRET_FILE_EVENTS,)).primed()
        self._secret_reads = Children(counter(names.SECRET_STORE_READS, registry), (SECRET_STORES, SECRET_READ_RESULTS))
        self._secret_failing = gauge(names.SECRET_STORE_FAILING_SECONDS, registry)
        self._signer_events = Children(counter(names.SIGNER_EVENTS, registry), (SIGNER_EVENTS,)).primed()
        self.dates = DateSeries(registry)
        """Those of keys and certificates."""
        self._policy_reads = Children(counter(names.POLICY_READS, registry), (POLICY_EVENTS,)).primed()
        self._policy_refused = gauge(names.POLICY_REFUSED, registry)
        self._audit = Children(counter(names.AUDIT_RECORDS, registry), (AUDIT_EVENTS,)).primed()
        self._switched_off = gauge(names.SWITCHED_OFF, registry)
        self.switched_off({})
        self._lookups = LoopCounter(names.CACHE_LOOKUPS, (CACHE_PURPOSES, CACHE_RESULTS), registry)
        for purpose in CACHE_PURPOSES:
            self._lookups.prime((purpose, "refused"))

        self._live_boards = Children(counter(names.LIVE_BOARD_EVENTS, registry), (LIVE_BOARD_EVENTS,)).primed()

        self._decisions = LoopCounter(
            names.WALLET_DECISIONS, (_ENVIRONMENTS, _VERDICTS, _DISPOSITIONS | {""}), registry
        )
        for environment in _ENVIRONMENTS:
            for verdict in _VERDICTS - {Verdict.VERIFIED.value}:
                self._decisions.prime((environment, verdict, ""))
            for disposition in _DISPOSITIONS:
                self._decisions.prime((environment, Verdict.VERIFIED.value, disposition))
        self._suspects = Children(counter(names.SUSPECT_REPLAYS, registry), (_ENVIRONMENTS,)).primed()
        self._unreadable = Children(
            counter(names.UNREADABLE_WEBHOOKS, registry), (_ENVIRONMENTS, _UNREADABLE_STATES)
        ).primed()
        self._header_anomalies = Children(counter(names.ODD_HEADERS, registry), (_HEADER_ANOMALIES,)).primed()

        self._writes = counter(names.EVIDENCE_WRITES, registry)
        self._commit_seconds = LoopHistogram(names.EVIDENCE_COMMIT_SECONDS, (), registry)
        self._batch_size = histogram(names.EVIDENCE_BATCH_SIZE, registry)
        self._chained = counter(names.EVIDENCE_CHAINED, registry)
        self._chain_waits = gauge(names.EVIDENCE_CHAIN_WAITS, registry)
        self._chain_failures = Children(
            counter(names.EVIDENCE_CHAIN_FAILURES, registry), (CHAIN_FAILURE_KINDS,)
        ).primed()
        self._store_errors = Children(counter(names.STORE_ERRORS, registry), (STORE_ERROR_KINDS,)).primed()

        self._spans = Children(counter(names.TRACE_SPANS, registry), (SPAN_RESULTS,)).primed()

        self._parked = counter(names.CONNECTIONS_PARKED, registry)
        self._log_lines_lost = counter(names.LOG_LINES_LOST, registry)
        self._log_lines_counted = 0
        self._store_failures = Children(counter(names.STORE_FAILURES, registry), (STORE_FAILURE_CAUSES,)).primed()

        self._serving = gauge(names.SERVICE_SERVING, registry)
        self._not_ready = Children(gauge(names.NOT_READY, registry), (NOT_READY_CAUSES,)).primed()
        gauge(names.BUILD_INFO, registry).labels(build.version, build.revision, build.python).set(1)
        ProcessCollector(registry=registry)

    def call_began(self, method: str) -> None:
        """A call came."""
        self._calls.began(method)

    def call_ended(self, method: str, status: str, reason: str, seconds: float, span: Span | None = None) -> None:
        """A call that had begun ended. Args: `status`: the gRPC code's name; `reason`: empty for OK; `span`: of a
        sampled call, an exemplar.
        """
        self._calls.ended(method, status, reason, seconds, span)

    def connection_parked(self) -> None:
        """A connection is not read for a while."""
        self._parked.inc()

    def call_totals(self) -> dict[str, tuple[int, int, list[int]]]:
        """Return, by method: calls that ended, those that failed, and the calls by bucket of their time."""
        return self._calls.totals()

    def wallet_decided(self, environment: str, verdict: str, disposition: str) -> None:
        """A wallet webhook was decided on. `disposition`: empty where the verdict left none."""
        self._decisions.add((environment, verdict, disposition))

    def suspect_replay(self, environment: str) -> None:
        """A signed body came again under another key."""
        self._suspects.of((environment,)).inc()

    def unreadable_webhook(self, environment: str, state: str) -> None:
        """A signed webhook could not be read: it waits for a person, or a person settled it."""
        self._unreadable.of((environment, state)).inc()

    def odd_header(self, kind: str) -> None:
        """Something in the unsigned parts of a webhook was odd."""
        self._header_anomalies.of((kind,)).inc()

    def upstream_answered(self, surface: str, status: int, seconds: float) -> None:
        """One request to Phoenix was answered."""
        text = str(status) if status in STATUSES else f"{status // 100}xx"
        self._requests.add((surface, text))
        self._request_seconds.observe((surface,), seconds, CURRENT.get())

    def upstream_unanswered(self, surface: str, how: str, seconds: float) -> None:
        """One request to Phoenix got no answer; `how` is one of UNANSWERED."""
        self._requests.add((surface, how))
        self._request_seconds.observe((surface,), seconds, CURRENT.get())

    def upstream_settled(self, surface: str, reason: str, tries: int) -> None:
        """No more tries are made. Args: `reason`: of the error that was raised, empty for success."""
        self._tries.observe((surface,), tries)
        if reason == errors.PhoenixRejectedCredentials.reason:
            self._rejected.of((surface,)).inc()

    def retry_withheld(self, surface: str) -> None:
        """A request to Phoenix was not sent again: the budget of its surface is spent."""
        self._withheld.of((surface,)).inc()

    def circuit_changed(self, surface: str, state: str) -> None:
        """A breaker changed its state."""
        self._circuits.of((surface, state)).inc()

    def event_sending(self, name: str) -> None:
        """Something unplanned happened to events on their way; see EVENT_SENDING_EVENTS."""
        self._sending.of((name,)).inc()

    def clock_stepped(self, step_s: float) -> None:
        """Count a step of the host's clock."""
        self._clock_steps.of(("forward" if step_s > 0 else "back",)).inc()

    def key_event(self, name: str) -> None:
        """Something happened to a key: the `on_event` of everything in gateway/keys."""
        if name.startswith(SECRET_FILE_EVENT):
            self._file_events.of((name.removeprefix(SECRET_FILE_EVENT),)).inc()
        elif name.startswith(SIGNER_EVENT):
            self._signer_events.of((name.removeprefix(SIGNER_EVENT),)).inc()
        else:
            self._key_events.of((name.removeprefix(PLATFORM_KEY_EVENT),)).inc()

    def secret_read(self, store: str, result: str) -> None:
        """A secret was read from a store, or could not be."""
        self._secret_reads.of((store, result)).inc()

    def secret_store_failing(self, store: str, seconds: float) -> None:
        """Take over for how long a secret of this store cannot be read; 0 if all can."""
        self._secret_failing.labels(store).set(seconds)

    def policy_read(self, *, taken: bool) -> None:
        """A changed policy file was read: it is in force now, or was refused."""
        self._policy_reads.of(("taken" if taken else "refused",)).inc()
        self._policy_refused.set(0 if taken else 1)

    def audited(self, event: str, count: int) -> None:
        """So many audit records were kept or lost, or a write failed; see AUDIT_EVENTS. From any thread."""
        self._audit.of((event,)).inc(count)

    def switched_off(self, counts: Mapping[str, int]) -> None:
        """Take over how many of each kind are switched off; a kind that is left out has none."""
        for kind in TargetKind:
            self._switched_off.labels(kind.value).set(counts.get(kind.value, 0))

    def cache_looked_up(self, purpose: str, result: str) -> None:
        """The cache was asked; see CACHE_PURPOSES and CACHE_RESULTS."""
        self._lookups.add((purpose, result))

    def live_board_event(self, name: str) -> None:
        """Something happened to a watched board; see LIVE_BOARD_EVENTS. Rejected credentials count as such too."""
        self._live_boards.of((name,)).inc()
        if name == "credentials_rejected":
            self._rejected.of(("query",)).inc()

    def evidence_committed(self, operations: int, seconds: float) -> None:
        """One transaction of so many operations was committed."""
        self._writes.inc(operations)
        self._commit_seconds.observe((), seconds)
        self._batch_size.observe(operations)

    def evidence_chained(self, entries: int) -> None:
        """So many changes of evidence were chained by this process."""
        self._chained.inc(entries)

    def chain_waits(self, seconds: float) -> None:
        """The oldest change that is not chained has been seen to wait this long; 0: none waits."""
        self._chain_waits.set(seconds)

    def chain_failed(self, kind: str) -> None:
        """A step of the chain failed; see CHAIN_FAILURE_KINDS."""
        self._chain_failures.of((kind,)).inc()

    def store_failed(self, kind: str) -> None:
        """A transaction failed; see STORE_ERROR_KINDS."""
        self._store_errors.of((kind,)).inc()

    def store_broke(self, cause: str) -> None:
        """The database failed once, for this cause; see STORE_FAILURE_CAUSES."""
        self._store_failures.of((cause,)).inc()

    def spans(self, result: str, count: int) -> None:
        """So many spans of traces left this process or were lost; see SPAN_RESULTS. From any thread."""
        self._spans.of((result,)).inc(count)

    def services_serving(self, services: Mapping[str, bool]) -> None:
        """Take over which services serve. The names are those of our own protos."""
        for service, serving in services.items():
            self._serving.labels(service).set(1 if serving else 0)

    def not_ready(self, causes: Collection[str]) -> None:
        """Take over why this replica is not ready; see NOT_READY_CAUSES."""
        for cause in NOT_READY_CAUSES:
            self._not_ready.of((cause,)).set(1 if cause in causes else 0)

    def page(self, kind: PageFormat = PageFormat.TEXT) -> Iterator[bytes]:
        """Yield everything in this format, in parts that may be empty: all at once takes milliseconds.

        `_created` series are left out: they double the text, and the library's own switch for them is a global. So is
        the mark at the end of OpenMetrics' format; whoever puts the page together ends it.
        """
        lost = lines_lost()
        self._log_lines_lost.inc(max(0, lost - self._log_lines_counted))
        self._log_lines_counted = lost
        for family in self._registry.collect():
            if not isinstance(family, CellFamily):
                family.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
            if kind is PageFormat.PROTOBUF:
                yield from family_parts(family)
            elif kind is PageFormat.OPEN:
                text: bytes = openmetrics.generate_latest(_One(family))  # type: ignore[no-untyped-call]
                yield text.removesuffix(OPEN_END)
            else:
                yield generate_latest(_One(family))


class _One(Collector):
    """A collector of one family, as the library's renderer wants it."""

    def __init__(self, family: Family) -> None:
        self._family = family

    def collect(self) -> tuple[Family]:
        """Return it."""
        return (self._family,)


def _statuses_and_reasons() -> tuple[frozenset[str], frozenset[str]]:
    """Every status and reason that a call can end with: those of the error tree, success and a caller who left."""
    kinds: list[type[errors.GatewayError]] = [errors.GatewayError]
    for kind in kinds:
        kinds.extend(kind.__subclasses__())
    return (
        frozenset({kind.code for kind in kinds} | {"OK", "CANCELLED"}),
        frozenset({kind.reason for kind in kinds} | {"", "CANCELLED"}),
    )
