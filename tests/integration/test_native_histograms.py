"""Native histograms as Prometheus takes them from a gateway, with one worker and with two; and as it does not.

Two of them scrape each gateway: one that takes native histograms, and one with its defaults.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any

import grpc
import pytest

from gateway.telemetry.metric_names import ALL, CALL_SECONDS, EVIDENCE_COMMIT_SECONDS, UPSTREAM_SECONDS
from gateway.telemetry.page_format import PageFormat
from gateway.v1 import leaderboards_pb2, leaderboards_pb2_grpc, wallet_pb2_grpc
from tests.client_model import ACCEPT, counts_of, families, labels_of
from tests.deploy import alert_rules
from tests.gateway_process import GatewayProcess, of_sandbox
from tests.integration.test_wallet import signed
from tests.prometheus_process import PrometheusMissing, PrometheusProcess
from tests.sandbox_process import SandboxProcess

pytestmark = pytest.mark.timeout(180)
METHOD = "/phoenix.gateway.v1.LeaderboardService/GetUserRank"
SLOW_S, CALLS = 0.3, 24
ONE = f'{CALL_SECONDS.name}{{method="{METHOD}"}}'
COMMIT = EVIDENCE_COMMIT_SECONDS.name
WIDTH = 2 ** (1 / 8)
"""Of a bucket: a quantile is at most so much off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scraped:
    """A gateway that has served, and who scrapes it. `slowest_s`: of its calls of METHOD, seen by their caller."""

    gateway: GatewayProcess
    workers: int
    native: PrometheusProcess
    default: PrometheusProcess
    slowest_s: float


def call(address: str) -> float:
    """Read a rank on a connection of its own, so that any worker may get it. Return the seconds that it took."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(address, options=options) as channel:
        grpc.channel_ready_future(channel).result(timeout=20)
        boards: Any = leaderboards_pb2_grpc.LeaderboardServiceStub(channel)
        began = time.monotonic()
        with pytest.raises(grpc.RpcError):  # there is no such board
            boards.GetUserRank(
                leaderboards_pb2.GetUserRankRequest(leaderboard_id="none", user_id=str(uuid.uuid4())), timeout=10
            )
        return time.monotonic() - began


def value(prometheus: PrometheusProcess, query: str) -> float:
    """The only value of a query."""
    (found,) = prometheus.query(query)
    return float(found["value"][1])


def wait(prometheus: PrometheusProcess, query: str) -> None:
    """Wait until a query has a result."""
    prometheus.wait(lambda: prometheus.query(query), within_s=30, told=lambda: query)


@pytest.fixture(scope="module", params=[pytest.param(1, marks=pytest.mark.faults), 2], ids=["1 worker", "2 workers"])
def scraped(request: pytest.FixtureRequest, sandbox_process: SandboxProcess) -> Iterator[Scraped]:
    sandbox_process.control("POST", "/reset", {})
    settings = of_sandbox(sandbox_process.urls, sandbox_process.environ) | {"GATEWAY_WORKERS": str(request.param)}
    with ExitStack() as stack:
        gateway = stack.enter_context(GatewayProcess(settings))
        try:
            native, default = (
                stack.enter_context(PrometheusProcess([gateway.admin_address], native=native))
                for native in (True, False)
            )
        except PrometheusMissing as missing:
            pytest.skip(str(missing))
        for prometheus in (native, default):  # rate() needs a sample from before
            wait(prometheus, "count_over_time(up[1m]) > 2")
        delay = {"surface": "query", "kind": "delay", "delay_ms": round(SLOW_S * 1000)}
        fault = sandbox_process.control("POST", "/faults", delay)
        with ThreadPoolExecutor(6) as callers:
            slowest_s = max(callers.map(call, [gateway.address] * CALLS))
        sandbox_process.control("DELETE", f"/faults/{fault['id']}")
        with gateway.open_channel() as channel:
            wallet = wallet_pb2_grpc.WalletServiceStub(channel)
            wallet.VerifyWallet(signed(sandbox_process, operation="reserve_cash"), timeout=10)
        wait(native, f"histogram_count(sum({ONE})) >= {CALLS}")
        wait(default, f"sum({ONE.replace('{', '_count{')}) >= {CALLS}")
        wait(native, f"histogram_count(sum({COMMIT})) >= 1")
        wait(default, f"sum({COMMIT}_count) >= 1")
        yield Scraped(gateway=gateway, workers=request.param, native=native, default=default, slowest_s=slowest_s)


def page(gateway: GatewayProcess, accept: bytes | None) -> tuple[str, bytes]:
    """Return the Content-Type and the body of /metrics."""
    host, port = gateway.admin_address.rsplit(":", 1)
    connection = HTTPConnection(host, int(port), timeout=10)
    try:
        connection.request("GET", "/metrics", headers={} if accept is None else {"Accept": accept})
        answer = connection.getresponse()
        assert answer.status == 200
        return answer.headers["Content-Type"], answer.read()
    finally:
        connection.close()


def test_a_quantile_is_that_of_the_calls(scraped: Scraped) -> None:
    """By exponential buckets, within the width of one; count and sum are those of the text."""
    assert value(scraped.native, f"histogram_count(sum({ONE}))") == CALLS
    mean_s = value(scraped.native, f"histogram_sum(sum({ONE}))") / CALLS
    assert SLOW_S <= mean_s <= scraped.slowest_s
    for query in (f"sum({ONE})", f"sum(rate({ONE}[1m]))", f"sum without (worker) (increase({ONE}[1m]))"):
        for share in (0.01, 0.5, 0.99):
            found_s = value(scraped.native, f"histogram_quantile({share}, {query})")
            assert SLOW_S / WIDTH <= found_s <= scraped.slowest_s * WIDTH, (query, share)


def test_the_classic_buckets_say_the_same(scraped: Scraped) -> None:
    """In the Prometheus with its defaults, which has no exponential ones: its quantiles are between two bounds."""
    by_bucket = ONE.replace("{", "_bucket{")
    found_s = value(scraped.default, f"histogram_quantile(0.5, sum by (le) (rate({by_bucket}[1m])))")
    bounds = (0.0, *CALL_SECONDS.buckets)
    assert max(bound for bound in bounds if bound < SLOW_S) <= found_s
    assert found_s <= min(bound for bound in bounds if bound >= scraped.slowest_s)
    assert scraped.default.query(ONE) == []


def test_native_histograms_replace_classic_buckets_of_latencies_only(scraped: Scraped) -> None:
    """As the document says of Prometheus 2.42; the other histograms have them, and one by surface stays one."""
    for metric in ALL:
        if metric.buckets:
            classic, native = (scraped.native.query(name) for name in (f"{metric.name}_bucket", metric.name))
            assert (bool(classic), bool(native)) == (not metric.is_native, metric.is_native), metric.name
    assert value(scraped.native, f'histogram_count(sum({UPSTREAM_SECONDS.name}{{surface="query"}}))') >= CALLS


def test_both_prometheus_have_the_same_series_otherwise(scraped: Scraped) -> None:
    """Names and labels of what is no histogram of latencies: a change of the feature loses nothing else."""
    natives = "|".join(metric.name for metric in ALL if metric.is_native)
    query = f'{{job="gateway",__name__!~"({natives})(_bucket|_sum|_count)?"}}'

    def found(prometheus: PrometheusProcess) -> set[frozenset[tuple[str, str]]]:
        return {frozenset(series["metric"].items()) for series in prometheus.query(query)}

    assert found(scraped.native) == found(scraped.default)
    assert len(found(scraped.native)) > 200


def test_each_worker_has_its_series(scraped: Scraped) -> None:
    """With the label `worker` if there are several; together they have all calls."""
    counts = scraped.native.query(f"histogram_count({ONE})")
    numbers = [series["metric"].get("worker") for series in counts]
    assert sorted(numbers, key=str) == ([None] if scraped.workers == 1 else ["0", "1"])
    assert sum(float(series["value"][1]) for series in counts) == CALLS


def test_the_dashboard_shows_latencies_in_both(scraped: Scraped) -> None:
    """Each of its quantiles is a number; that of all reads is that of the calls."""
    quantiles = [query for _, query in alert_rules.panel_queries() if "histogram_quantile" in query]
    assert len(quantiles) == 5
    for prometheus in (scraped.native, scraped.default):
        for query in quantiles:
            shown = [float(series["value"][1]) for series in prometheus.query(alert_rules.filled(query, "1m"))]
            assert [one for one in shown if one > 0], query
        reads = quantiles[1].replace("$service", "LeaderboardService")
        assert SLOW_S / WIDTH <= value(prometheus, alert_rules.filled(reads, "1m")) <= 1.1 * max(0.5, scraped.slowest_s)


def test_a_scraper_that_prefers_the_protobuf_format_gets_it(scraped: Scraped) -> None:
    """Read by the classes of the published definition: all calls, in both forms."""
    kind, body = page(scraped.gateway, ACCEPT.encode())
    assert kind == PageFormat.PROTOBUF.value
    series = [one for one in families(body)[CALL_SECONDS.name].metric if labels_of(one)["method"] == METHOD]
    assert len(series) == scraped.workers
    assert sum(sum(counts_of(one.histogram).values()) for one in series) == CALLS
    assert sum(one.histogram.bucket[-1].cumulative_count for one in series) == CALLS


@pytest.mark.parametrize(
    "accept",
    [
        None,
        b"*/*",
        b"application/vnd.google.protobuf",
        ACCEPT.replace("encoding=delimited", "encoding=delimited;q=x").encode(),
        b"\xff\xfe\xed\xb3\xbf",
        "\N{SNOWMAN};q=1,application/vnd.google.protobuf;proto".encode(),
        b";;;,,,q=" + b"," * 1500,
    ],
)
def test_any_other_header_gets_text(scraped: Scraped, accept: bytes | None) -> None:
    """A broken or hostile one too, whoever of the workers answers."""
    kind, body = page(scraped.gateway, accept)
    assert kind == PageFormat.TEXT.value
    count = f'{CALL_SECONDS.name}_count{{worker="1",' if scraped.workers == 2 else f"{CALL_SECONDS.name}_count{{"
    assert f'{count}method="{METHOD}"}}' in body.decode()
