"""The metrics as Prometheus reads them: what each method counts, and that labels stay in their closed sets."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from gateway.phoenix.answers import Surface
from gateway.telemetry.label_values import PLATFORM_KEY_EVENTS, SECRET_FILE_EVENTS, SURFACES
from gateway.telemetry.metrics import BuildInfo, Metrics

METHOD = "/phoenix.gateway.v1.TokenService/MintLaunchJWT"
KEYS_ROOM = Path(__file__).parents[2] / "gateway" / "keys"


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(CollectorRegistry(), methods=[METHOD], build=BuildInfo(version="1.2", revision="abc", python="3.11"))


def samples(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """All samples by name (without prefix) and label values, sorted by label name."""
    text = b"".join(metrics.page()).decode()
    return {
        (sample.name.removeprefix("phoenix_gateway_"), *(sample.labels[name] for name in sorted(sample.labels))): value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        for value in [sample.value]
    }


def changed(metrics: Metrics, before: dict[tuple[str, ...], float]) -> dict[tuple[str, ...], float]:
    """Our samples that differ from `before`, without bucket lines and the process's own."""
    return {
        key: value
        for key, value in samples(metrics).items()
        if before.get(key) != value
        and not key[0].startswith(("process_", "python_"))
        and not key[0].endswith("_bucket")
    }


def test_call_is_counted_and_timed(metrics: Metrics) -> None:
    """A call that ended counts once under its method, status and reason, with its time."""
    before = samples(metrics)
    metrics.call_began(METHOD)
    metrics.call_ended(METHOD, "UNAVAILABLE", "PHOENIX_UNAVAILABLE", 0.5)
    assert changed(metrics, before) == {
        ("calls_total", METHOD, "PHOENIX_UNAVAILABLE", "UNAVAILABLE"): 1,
        ("call_seconds_count", METHOD): 1,
        ("call_seconds_sum", METHOD): 0.5,
    }


def test_dates_are_read_at_each_scrape(metrics: Metrics) -> None:
    """There is no series before they are followed; then those of now."""
    kept = {"server": 1_900_000_000.0}
    none = [key for key in samples(metrics) if "timestamp_seconds" in key[0] and key[0].startswith(("key_", "cert"))]
    metrics.dates.follow_certificates(lambda: kept)
    metrics.dates.follow_keys(lambda: {"operator": 1_700_000_000.0})
    first = samples(metrics)
    kept["server"] += 1
    assert none == []
    assert first["key_active_timestamp_seconds", "operator"] == 1_700_000_000
    assert first["certificate_expiry_timestamp_seconds", "server"] == 1_900_000_000
    assert samples(metrics)["certificate_expiry_timestamp_seconds", "server"] == 1_900_000_001


def test_what_is_alerted_on_exists_before_it_happens() -> None:
    """Prometheus sees no increase in a series that begins with 1."""
    record = "/phoenix.gateway.v1.WalletService/RecordWalletOutcome"
    shown = samples(
        Metrics(CollectorRegistry(), methods=[METHOD, record], build=BuildInfo(version="", revision="", python=""))
    )
    ends = {key[1:]: value for key, value in shown.items() if key[0] == "calls_total" and key[-1] != "OK"}
    assert ends == {
        (METHOD, "INTERNAL", "INTERNAL"): 0,
        (record, "INTERNAL", "INTERNAL"): 0,
        (record, "OUTCOME_DIFFERS", "FAILED_PRECONDITION"): 0,
        (record, "STALE_ATTEMPT", "FAILED_PRECONDITION"): 0,
    }
    assert shown["cache_lookups_total", "switch", "refused"] == 0


def test_call_in_flight_is_seen(metrics: Metrics) -> None:
    """A call that has not ended is in flight, and no longer once it has."""
    metrics.call_began(METHOD)
    metrics.call_began(METHOD)
    during = samples(metrics)["calls_in_flight", METHOD]
    metrics.call_ended(METHOD, "OK", "", 0.1)
    assert (during, samples(metrics)["calls_in_flight", METHOD]) == (2, 1)


def test_time_is_found_in_its_bucket(metrics: Metrics) -> None:
    """A call of 0.2 ms is in the lowest bucket, one of 4 s in that of 5 s."""
    for seconds in (0.0002, 4.0):
        metrics.call_began(METHOD)
        metrics.call_ended(METHOD, "OK", "", seconds)
    reported = samples(metrics)
    assert [reported["call_seconds_bucket", bound, METHOD] for bound in ("0.00025", "2.5", "5.0", "+Inf")] == [
        1,
        1,
        2,
        2,
    ]


@pytest.mark.parametrize(
    ("status", "label"), [(200, "200"), (404, "404"), (418, "4xx"), (599, "5xx"), (999, "OTHER"), (0, "OTHER")]
)
def test_upstream_status_is_a_code_or_its_class(metrics: Metrics, status: int, label: str) -> None:
    """Common statuses count by themselves, others by class, nonsense as OTHER."""
    metrics.upstream_answered("query", status, 0.02)
    reported = samples(metrics)
    assert (reported["upstream_requests_total", label, "query"], reported["upstream_seconds_count", "query"]) == (1, 1)


def test_unanswered_request_is_counted(metrics: Metrics) -> None:
    """A request without an answer counts by how it failed."""
    metrics.upstream_unanswered("ingestion", "not_sent", 0.02)
    assert samples(metrics)["upstream_requests_total", "not_sent", "ingestion"] == 1


def test_rejected_credentials_are_counted_once_settled(metrics: Metrics) -> None:
    """A 401 alone gives no alert, because it is retried. The error that ends the request does."""
    metrics.upstream_answered("ingestion", 401, 0.02)
    tried = samples(metrics)["credentials_rejected_total", "ingestion"]
    metrics.upstream_settled("ingestion", "PHOENIX_REJECTED_CREDENTIALS", 2)
    metrics.upstream_settled("ingestion", "", 1)
    reported = samples(metrics)
    assert (
        tried,
        reported["credentials_rejected_total", "ingestion"],
        reported["upstream_tries_sum", "ingestion"],
    ) == (
        0,
        1,
        3,
    )


def test_wallet_decision_is_counted(metrics: Metrics) -> None:
    """A decision counts under environment, verdict and disposition."""
    before = samples(metrics)
    metrics.wallet_decided("prod", "VERIFIED", "NEW")
    metrics.wallet_decided("prod", "BAD_SIGNATURE", "")
    metrics.suspect_replay("prod")
    metrics.odd_header("PROVIDER")
    assert changed(metrics, before) == {
        ("wallet_decisions_total", "NEW", "prod", "VERIFIED"): 1,
        ("wallet_decisions_total", "", "prod", "BAD_SIGNATURE"): 1,
        ("suspect_replays_total", "prod"): 1,
        ("odd_headers_total", "PROVIDER"): 1,
    }


def test_commit_is_counted(metrics: Metrics) -> None:
    """A transaction counts its operations, its time and its size."""
    before = samples(metrics)
    metrics.evidence_committed(50, 0.002)
    metrics.store_failed("timeout")
    assert changed(metrics, before) == {
        ("evidence_writes_total",): 50,
        ("evidence_commit_seconds_count",): 1,
        ("evidence_commit_seconds_sum",): 0.002,
        ("evidence_batch_size_count",): 1,
        ("evidence_batch_size_sum",): 50,
        ("store_errors_total", "timeout"): 1,
    }


def test_cache_lookup_is_counted(metrics: Metrics) -> None:
    """A look into the cache counts by purpose and result."""
    metrics.cache_looked_up("leaderboard", "hit")
    assert samples(metrics)["cache_lookups_total", "leaderboard", "hit"] == 1


def test_key_events_go_to_their_metric(metrics: Metrics) -> None:
    """One callback serves the platform key and the secret files."""
    metrics.key_event("platform_key_rotated")
    metrics.key_event("secret_file_refused")
    reported = samples(metrics)
    assert (reported["platform_key_events_total", "rotated"], reported["secret_file_events_total", "refused"]) == (1, 1)


def test_every_event_of_the_keys_room_is_known() -> None:
    """No event of gateway/keys counts as OTHER, and every known event exists there."""
    source = "".join(path.read_text() for path in KEYS_ROOM.rglob("*.py"))
    reported = set(re.findall(r'"(platform_key_[a-z_]+|secret_file_[a-z_]+)"', source))
    known = {f"platform_key_{name}" for name in PLATFORM_KEY_EVENTS} | {
        f"secret_file_{name}" for name in SECRET_FILE_EVENTS
    }
    assert reported == known


def test_every_surface_is_known() -> None:
    """The surfaces of the phoenix room are the label's values."""
    assert {surface.value for surface in Surface} == SURFACES


def test_values_from_outside_make_no_series(metrics: Metrics) -> None:
    """A thousand strange values add one series a metric, OTHER, whatever they are."""
    before = len(samples(metrics))
    for number in range(1000):
        strange = f"id-{number}"
        metrics.call_began(strange)
        metrics.call_ended(strange, strange, strange, 0.1)
        metrics.upstream_unanswered(strange, strange, 0.1)
        metrics.upstream_settled(strange, strange, 1)
        metrics.wallet_decided(strange, strange, strange)
        metrics.suspect_replay(strange)
        metrics.odd_header(strange)
        metrics.key_event(strange)
        metrics.cache_looked_up(strange, strange)
        metrics.store_failed(strange)
    reported = samples(metrics)
    added = [key for key in reported if "id-" in "".join(key)]
    histogram_lines = sum(1 for key in reported if "OTHER" in key and key[0].startswith(("upstream_", "call_seconds")))
    assert (added, len(reported) - before < histogram_lines + 12) == ([], True)


def test_alerts_have_a_zero_before_their_first_increase(metrics: Metrics) -> None:
    """Series that one alerts on exist from the start, since Prometheus sees no increase in a series' first value."""
    reported = samples(metrics)
    assert {
        reported["credentials_rejected_total", "ingestion"],
        reported["platform_key_events_total", "fetch_failed"],
        reported["secret_file_events_total", "refused"],
        reported["suspect_replays_total", "prod"],
        reported["store_errors_total", "unavailable"],
        reported["calls_total", METHOD, "", "OK"],
    } == {0}


def test_process_and_build_are_reported(metrics: Metrics) -> None:
    """Memory, open files and the version are there; birthdays of series are not."""
    reported = samples(metrics)
    assert reported["process_resident_memory_bytes",] > 1_000_000
    assert reported["process_open_fds",] > 0
    assert reported["build_info", "3.11", "abc", "1.2"] == 1
    assert not [key for key in reported if key[0].endswith("_created")]


def test_two_registries_share_nothing() -> None:
    """Metrics live in the registry that they were given and nowhere else."""
    build = BuildInfo(version="", revision="", python="")
    one, other = (Metrics(CollectorRegistry(), methods=[METHOD], build=build) for _ in range(2))
    one.suspect_replay("prod")
    assert samples(other)["suspect_replays_total", "prod"] == 0
