"""Every metric: its name, kind, meaning and labels, once. docs/metrics.md is held against this by a test.

Labels take values of closed sets only (`metrics.py` turns any other into OTHER), so that nothing that comes from
outside can make a series.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

PREFIX = "phoenix_gateway_"
OTHER = "OTHER"
"""Label value of whatever is not in the label's set."""

CALL_BUCKETS = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds. A mint takes 0.2 ms, a call to Phoenix tens of ms, the longest deadline of a single call is 15 s."""
UPSTREAM_BUCKETS = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
COMMIT_BUCKETS = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
BATCH_BUCKETS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0)
TRIES_BUCKETS = (1.0, 2.0, 3.0, 4.0)


class Kind(enum.Enum):
    """How a metric behaves. The values are Prometheus's words."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric. `name` is as scraped, with `_total` for a counter; `buckets` and `is_native` only for a histogram.

    `is_native`: with exponential buckets too, for scrapers that take them. `buckets` of such a one are above 0.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    is_native: bool = False


CALLS = Metric(
    name=PREFIX + "calls_total",
    kind=Kind.COUNTER,
    help="Calls that ended, by gRPC status and reason (empty for OK).",
    labels=("method", "status", "reason"),
)
CALL_SECONDS = Metric(
    name=PREFIX + "call_seconds",
    kind=Kind.HISTOGRAM,
    help="Time from a call's arrival to its end; a stream's whole life.",
    labels=("method",),
    buckets=CALL_BUCKETS,
    is_native=True,
)
CALLS_IN_FLIGHT = Metric(
    name=PREFIX + "calls_in_flight",
    kind=Kind.GAUGE,
    help="Calls that arrived and have not ended.",
    labels=("method",),
)
UPSTREAM_REQUESTS = Metric(
    name=PREFIX + "upstream_requests_total",
    kind=Kind.COUNTER,
    help="Requests sent to Phoenix, counting each try, by HTTP status or by the way the answer failed.",
    labels=("surface", "status"),
)
UPSTREAM_SECONDS = Metric(
    name=PREFIX + "upstream_seconds",
    kind=Kind.HISTOGRAM,
    help="Time of one request to Phoenix, without the waits between tries.",
    labels=("surface",),
    buckets=UPSTREAM_BUCKETS,
    is_native=True,
)
UPSTREAM_TRIES = Metric(
    name=PREFIX + "upstream_tries",
    kind=Kind.HISTOGRAM,
    help="Tries until a request to Phoenix succeeded or failed finally.",
    labels=("surface",),
    buckets=TRIES_BUCKETS,
)
RETRIES_WITHHELD = Metric(
    name=PREFIX + "retries_withheld_total",
    kind=Kind.COUNTER,
    help="Requests to Phoenix that were not tried again, because a fifth of the last 10 s were retries already.",
    labels=("surface",),
)
CREDENTIALS_REJECTED = Metric(
    name=PREFIX + "credentials_rejected_total",
    kind=Kind.COUNTER,
    help="Requests whose credentials Phoenix rejected, the second try too if there was one. Alert on any.",
    labels=("surface",),
)
CIRCUIT_CHANGES = Metric(
    name=PREFIX + "circuit_changes_total",
    kind=Kind.COUNTER,
    help="State changes of a tenant's circuit breaker for a surface, by new state. Alert on open.",
    labels=("surface", "state"),
)
EVENT_SENDING_EVENTS = Metric(
    name=PREFIX + "event_sending_events_total",
    kind=Kind.COUNTER,
    help="Deviations in bulk calls and in remembered event ids.",
    labels=("event",),
)
DURABLE_EVENTS = Metric(
    name=PREFIX + "durable_events_total",
    kind=Kind.COUNTER,
    help="Durable events accepted, delivered, retried, redriven, purged, or taken over from a dead gateway.",
    labels=("event",),
)
DEAD_LETTERS = Metric(
    name=PREFIX + "dead_letters_total",
    kind=Kind.COUNTER,
    help="Durable events that became dead letters, by reason. Alert on any.",
    labels=("reason",),
)
QUEUE_EVENTS = Metric(
    name=PREFIX + "queue_events",
    kind=Kind.GAUGE,
    help="Durable events of all gateways that wait for delivery.",
)
QUEUE_BYTES = Metric(
    name=PREFIX + "queue_bytes",
    kind=Kind.GAUGE,
    help="Bytes of the durable events that wait.",
)
QUEUE_OLDEST_SECONDS = Metric(
    name=PREFIX + "queue_oldest_seconds",
    kind=Kind.GAUGE,
    help="Age of the oldest waiting durable event; 0 without any. Alert when it grows.",
)
DEAD_LETTERS_KEPT = Metric(
    name=PREFIX + "dead_letters_kept",
    kind=Kind.GAUGE,
    help="Dead letters of all gateways that are not redriven.",
)
CLOCK_STEPS = Metric(
    name=PREFIX + "clock_steps_total",
    kind=Kind.COUNTER,
    help="Times the clock of this host was set by more than 2 s, by direction. Alert on any.",
    labels=("direction",),
)
PLATFORM_KEY_EVENTS = Metric(
    name=PREFIX + "platform_key_events_total",
    kind=Kind.COUNTER,
    help="Events of the platform key that verifies wallet webhooks.",
    labels=("event",),
)
SECRET_FILE_EVENTS = Metric(
    name=PREFIX + "secret_file_events_total",
    kind=Kind.COUNTER,
    help="Secret versions announced, taken into use (reloaded), unusable (refused), rejected by Phoenix, retired.",
    labels=("event",),
)
SECRET_STORE_READS = Metric(
    name=PREFIX + "secret_store_reads_total",
    kind=Kind.COUNTER,
    help="Reads of secrets from stores by their result: ok, or the cause of the failure.",
    labels=("store", "result"),
)
SECRET_STORE_FAILING_SECONDS = Metric(
    name=PREFIX + "secret_store_failing_seconds",
    kind=Kind.GAUGE,
    help="Since how many seconds a secret of this store cannot be read; the known one stays in use. 0: all can be.",
    labels=("store",),
)
SIGNER_EVENTS = Metric(
    name=PREFIX + "signer_events_total",
    kind=Kind.COUNTER,
    help="Stores of launch keys: requests failed, answered with a signature of another key (forged), lists not read"
    " (unlisted), breakers opened.",
    labels=("event",),
)
KEY_ACTIVE_SINCE = Metric(
    name=PREFIX + "key_active_timestamp_seconds",
    kind=Kind.GAUGE,
    help="When the oldest key in use of this kind took over, in Unix time. Alert when its rotation is due.",
    labels=("kind",),
)
CERTIFICATE_EXPIRY = Metric(
    name=PREFIX + "certificate_expiry_timestamp_seconds",
    kind=Kind.GAUGE,
    help="When the first certificate of a file in use expires, in Unix time. Alert before.",
    labels=("certificate",),
)
POLICY_READS = Metric(
    name=PREFIX + "policy_reads_total",
    kind=Kind.COUNTER,
    help="Changed policy files: in force now (taken), or unusable so that the old policy stays (refused).",
    labels=("event",),
)
POLICY_REFUSED = Metric(
    name=PREFIX + "policy_refused",
    kind=Kind.GAUGE,
    help="1 while the policy file is unusable, so that an older policy is in force.",
)
TRACE_SPANS = Metric(
    name=PREFIX + "trace_spans_total",
    kind=Kind.COUNTER,
    help="Spans of sampled calls, by what became of them.",
    labels=("result",),
)
CONNECTIONS_PARKED = Metric(
    name=PREFIX + "connections_parked_total",
    kind=Kind.COUNTER,
    help="Times that a connection was not read for up to 30 s, because under overload more came than could be read.",
)
LOG_LINES_LOST = Metric(
    name=PREFIX + "log_lines_lost_total",
    kind=Kind.COUNTER,
    help="Log lines that standard error did not take: its reader stopped or left, or its disk is full.",
)
AUDIT_RECORDS = Metric(
    name=PREFIX + "audit_records_total",
    kind=Kind.COUNTER,
    help="Audit records kept, lost because too many waited, and failed writes. Alert on lost and failed.",
    labels=("event",),
)
SWITCHED_OFF = Metric(
    name=PREFIX + "switched_off",
    kind=Kind.GAUGE,
    help="How many methods, callers, tenants and operators are switched off by phoenix-gateway disable.",
    labels=("kind",),
)
REDIS_DOWN = Metric(
    name=PREFIX + "redis_down",
    kind=Kind.GAUGE,
    help="1 for the fault because of which Redis is not used now; 0 for every other, and while it is used.",
    labels=("fault",),
)
REDIS_FAILURES = Metric(
    name=PREFIX + "redis_failures_total",
    kind=Kind.COUNTER,
    help="Uses of Redis that failed, or were left out because Redis was not used, by fault.",
    labels=("fault",),
)
CACHE_LOOKUPS = Metric(
    name=PREFIX + "cache_lookups_total",
    kind=Kind.COUNTER,
    help="Cache look-ups, by purpose and result.",
    labels=("purpose", "result"),
)
LIVE_BOARD_EVENTS = Metric(
    name=PREFIX + "live_board_events_total",
    kind=Kind.COUNTER,
    help="Events of the upstream sockets of watched boards, and updates that slow watchers missed.",
    labels=("event",),
)
WALLET_DECISIONS = Metric(
    name=PREFIX + "wallet_decisions_total",
    kind=Kind.COUNTER,
    help="Wallet webhooks answered, by verdict and disposition (empty where there is none).",
    labels=("environment", "verdict", "disposition"),
)
SUSPECT_REPLAYS = Metric(
    name=PREFIX + "suspect_replays_total",
    kind=Kind.COUNTER,
    help="Wallet webhooks whose signed body was already seen under another idempotency key.",
    labels=("environment",),
)
ODD_HEADERS = Metric(
    name=PREFIX + "odd_headers_total",
    kind=Kind.COUNTER,
    help="Unsigned parts of wallet webhooks (headers, method, path) that were unexpected but no reason to refuse.",
    labels=("kind",),
)
UNREADABLE_WEBHOOKS = Metric(
    name=PREFIX + "unreadable_webhooks_total",
    kind=Kind.COUNTER,
    help="Signed wallet webhooks that could not be read: waiting for a person, or settled. Alert on any that waits.",
    labels=("environment", "state"),
)
EVIDENCE_WRITES = Metric(
    name=PREFIX + "evidence_writes_total",
    kind=Kind.COUNTER,
    help="Operations committed to the evidence store.",
)
EVIDENCE_COMMIT_SECONDS = Metric(
    name=PREFIX + "evidence_commit_seconds",
    kind=Kind.HISTOGRAM,
    help="Time of one transaction of the evidence store, commit included.",
    buckets=COMMIT_BUCKETS,
    is_native=True,
)
EVIDENCE_BATCH_SIZE = Metric(
    name=PREFIX + "evidence_batch_size",
    kind=Kind.HISTOGRAM,
    help="Operations that shared one transaction of the evidence store.",
    buckets=BATCH_BUCKETS,
)
EVIDENCE_CHAINED = Metric(
    name=PREFIX + "evidence_chained_total",
    kind=Kind.COUNTER,
    help="Evidence changes that this process chained; one process per database does it.",
)
EVIDENCE_CHAIN_WAITS = Metric(
    name=PREFIX + "evidence_chain_waiting_seconds",
    kind=Kind.GAUGE,
    help="How long the oldest evidence change has waited to be chained, as this process sees it; 0 without any.",
)
EVIDENCE_CHAIN_FAILURES = Metric(
    name=PREFIX + "evidence_chain_failures_total",
    kind=Kind.COUNTER,
    help="Steps of the evidence chain that failed and are repeated.",
    labels=("kind",),
)
STORE_ERRORS = Metric(
    name=PREFIX + "store_errors_total",
    kind=Kind.COUNTER,
    help="Transactions of the store that failed.",
    labels=("kind",),
)
STORE_FAILURES = Metric(
    name=PREFIX + "store_failures_total",
    kind=Kind.COUNTER,
    help="Failures of the database by cause, also those that a repeat made good.",
    labels=("cause",),
)
SERVICE_SERVING = Metric(
    name=PREFIX + "service_serving",
    kind=Kind.GAUGE,
    help="1 while the service can do its work, 0 while it cannot or is draining.",
    labels=("service",),
)
NOT_READY = Metric(
    name=PREFIX + "not_ready",
    kind=Kind.GAUGE,
    help="1 for each cause why this replica is not ready, else 0. Alert on any but starting and draining.",
    labels=("cause",),
)
BUILD_INFO = Metric(
    name=PREFIX + "build_info",
    kind=Kind.GAUGE,
    help="Always 1; the labels name the running build.",
    labels=("version", "revision", "python"),
)

ALL = tuple(one for one in tuple(globals().values()) if isinstance(one, Metric))
"""Every metric above, in its order."""
