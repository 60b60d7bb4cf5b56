"""Traces end to end: a collector gets them over OTLP, and each call's tree says where its time went."""

from __future__ import annotations

import base64
import json
import secrets
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.request import Request, urlopen

import grpc
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from gateway.v1 import events_pb2, events_pb2_grpc, leaderboards_pb2, leaderboards_pb2_grpc, wallet_pb2_grpc
from tests.gateway_process import FRONT, GatewayProcess, of_sandbox, reason_of
from tests.integration.awaited_calls import eventually
from tests.integration.board_reads import make
from tests.integration.test_wallet import V, reserve
from tests.otlp_collector import Collector, attributes, tree
from tests.postgres_process import PostgresProcess
from tests.redis_process import RedisMissing, RedisProcess
from tests.sandbox_process import SandboxProcess

OTHER_FRONT = "grpc" if FRONT == "http2" else "http2"
CALL = "phoenix.gateway.v1."
USER, PLAYER = "user-7f3a9c51", "player-52b8e0d7"
HEADER = "api-key-91f0c3a7d2e4"
METADATA = b'{"city":"payload-6d1e"}'


@dataclass(frozen=True)
class Traced:
    """A gateway that sends its traces to a collector."""

    collector: Collector
    process: GatewayProcess
    channel: grpc.Channel


def settings(sandbox: SandboxProcess, collector: Collector, **more: str) -> dict[str, str]:
    return {
        **of_sandbox(sandbox.urls, sandbox.environ),
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
        "OTEL_EXPORTER_OTLP_HEADERS": f"x-api-key={HEADER}",
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test",
        **more,
    }


@pytest.fixture(scope="module")
def traced(
    sandbox_process: SandboxProcess, postgres_server: PostgresProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Traced]:
    """With PostgreSQL and Redis."""
    try:
        redis = RedisProcess(tmp_path_factory.mktemp("redis"))
    except RedisMissing as missing:
        pytest.skip(str(missing))
    redis.start()
    try:
        with Collector() as collector:
            environ = settings(
                sandbox_process,
                collector,
                DATABASE_URL=postgres_server.create_database(f"test_{uuid.uuid4().hex}"),
                REDIS_URL=redis.url,
                GATEWAY_CACHE_KEYS=base64.b64encode(secrets.token_bytes(32)).decode(),
                PREDICTION_KEY_COOLDOWN="0.1",
                GATEWAY_BOARD_FRESH="60",
            )
            with GatewayProcess(environ) as process, grpc.insecure_channel(process.address) as channel:
                process.wait_serving("phoenix.gateway.v1.WalletService")
                yield Traced(collector, process, channel)
    finally:
        redis.stop()


def parent(*, sampled: bool = True) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Return a new trace, and the metadata of a caller in it."""
    trace_id, span_id = secrets.token_hex(16), secrets.token_hex(8)
    return trace_id, (
        ("traceparent", f"00-{trace_id}-{span_id}-{int(sampled):02x}"),
        ("tracestate", "vendor=opaque"),
    )


def event(event_id: str = "") -> events_pb2.Event:
    return events_pb2.Event(leaderboard_id="xp", user_id=USER, score_delta=1, event_id=event_id, metadata_json=METADATA)


def submit(channel: grpc.Channel, metadata: Any, **more: Any) -> None:
    request = events_pb2.SubmitEventRequest(event=event(), **more)
    events_pb2_grpc.EventServiceStub(channel).SubmitEvent(request, timeout=20, metadata=metadata)


def test_a_direct_event_has_its_request_to_phoenix(traced: Traced, sandbox: SandboxProcess) -> None:
    """The call continues its caller's trace; below it is the request, with conventional attributes and no path."""
    trace_id, metadata = parent()
    submit(traced.channel, metadata)
    spans = traced.collector.trace(trace_id)
    assert tree(spans) == [(f"{CALL}EventService/SubmitEvent", ""), ("POST", f"{CALL}EventService/SubmitEvent")]
    call, request = spans
    assert (call.kind, request.kind) == (Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT)
    assert call.parent_span_id.hex() == metadata[0][1].split("-")[2]
    assert call.trace_state == "vendor=opaque"
    found = attributes(call)
    assert found.pop("phoenix_gateway.request_id")
    assert found == {
        "rpc.system": "grpc",
        "rpc.service": f"{CALL}EventService",
        "rpc.method": "SubmitEvent",
        "rpc.grpc.status_code": 0,
        "phoenix_gateway.caller": "local",
        "phoenix_gateway.tenant": sandbox.environ["TENANT_ID"],
    }
    host, _, port = sandbox.urls["ingestion"].removeprefix("http://").partition(":")
    found = attributes(request)
    assert 200 <= found.pop("http.response.status_code") < 300
    assert found == {
        "http.request.method": "POST",
        "url.scheme": "http",
        "server.address": host,
        "server.port": int(port),
    }
    assert traced.collector.resources[0]["service.name"] == "phoenix-gateway"
    assert traced.collector.resources[0]["deployment.environment.name"] == "test"
    assert traced.collector.headers[0]["x-api-key"] == HEADER


def test_phoenix_gets_nothing_of_a_trace(traced: Traced, sandbox: SandboxProcess) -> None:
    """The context of a trace ends at the gateway."""
    trace_id, metadata = parent()
    submit(traced.channel, metadata)
    traced.collector.trace(trace_id)
    requests = json.dumps(sandbox.control("GET", "/requests")["requests"]).lower()
    assert "x-signature" in requests
    assert [word for word in ("traceparent", "tracestate", "baggage", trace_id) if word in requests] == []


def test_a_durable_event_is_linked_to_its_delivery(traced: Traced) -> None:
    """The call ends with the commit. The delivery is a trace of its own, with a link to the call."""
    trace_id, metadata = parent()
    submit(traced.channel, metadata, delivery=events_pb2.DELIVERY_DURABLE)
    spans = traced.collector.trace(trace_id)
    assert tree(spans) == [(f"{CALL}EventService/SubmitEvent", ""), ("database", f"{CALL}EventService/SubmitEvent")]
    assert attributes(spans[1]) == {"db.system.name": "postgresql", "db.operation.name": "commit"}
    assert attributes(spans[0])["phoenix_gateway.delivery"] == "durable"

    def is_delivery(span: Span) -> bool:
        return any(link.trace_id.hex() == trace_id for link in span.links)

    traced.collector.wait(lambda spans: any(map(is_delivery, spans)))
    (delivery,) = filter(is_delivery, traced.collector.spans)
    assert [link.span_id for link in delivery.links] == [spans[0].span_id]
    assert (delivery.name, delivery.kind, delivery.parent_span_id) == ("deliver events", Span.SPAN_KIND_CONSUMER, b"")
    below = tree(traced.collector.trace(delivery.trace_id.hex()))
    assert below == [("deliver events", ""), ("POST", "deliver events"), ("database", "deliver events")]


def test_a_board_is_read_once_and_then_from_the_cache(traced: Traced, sandbox: SandboxProcess) -> None:
    """Without an entry the call looks in Redis and asks Phoenix; with one it waits for nothing."""
    board = f"xp-{uuid.uuid4().hex[:8]}"
    make(sandbox, board, {USER: 5})
    stub, name = (
        leaderboards_pb2_grpc.LeaderboardServiceStub(traced.channel),
        f"{CALL}LeaderboardService/GetLeaderboard",
    )
    first, metadata = parent()
    stub.GetLeaderboard(leaderboards_pb2.GetLeaderboardRequest(leaderboard_id=board), timeout=20, metadata=metadata)
    spans = traced.collector.trace(first)
    assert set(tree(spans)) >= {(name, ""), ("redis", name), ("GET", name)}
    second, metadata = parent()
    stub.GetLeaderboard(leaderboards_pb2.GetLeaderboardRequest(leaderboard_id=board), timeout=20, metadata=metadata)
    assert "GET" not in [span.name for span in traced.collector.trace(second)]


def test_a_webhook_waits_for_a_new_key_and_the_database(traced: Traced, sandbox: SandboxProcess) -> None:
    """After a rotation the key is fetched within the call; the claim is committed."""
    sandbox.control("POST", "/keys/rotate", {})
    trace_id, metadata = parent()
    wallet = wallet_pb2_grpc.WalletServiceStub(traced.channel)
    answer = wallet.VerifyWallet(reserve(sandbox, player=PLAYER), timeout=30, metadata=metadata)
    assert answer.verdict == V.WALLET_VERDICT_VERIFIED
    name = f"{CALL}WalletService/VerifyWallet"
    spans = traced.collector.trace(trace_id)
    assert {(name, ""), ("platform key", name), ("GET", "platform key"), ("database", name)} <= set(tree(spans))
    found = attributes(spans[0])
    assert (found["phoenix_gateway.verdict"], found["phoenix_gateway.disposition"]) == ("VERIFIED", "NEW")


def test_a_failed_call_says_why(traced: Traced, sandbox: SandboxProcess) -> None:
    """Each try is a span with its status; the call has the reason, and no text of the error."""
    board = f"xp-{uuid.uuid4().hex[:8]}"
    sandbox.control("POST", "/faults", {"surface": "query", "kind": "status", "status": 503, "times": 20})
    trace_id, metadata = parent()
    try:
        stub = leaderboards_pb2_grpc.LeaderboardServiceStub(traced.channel)
        with pytest.raises(grpc.RpcError) as refused:
            stub.GetLeaderboard(
                leaderboards_pb2.GetLeaderboardRequest(leaderboard_id=board), timeout=20, metadata=metadata
            )
    finally:
        sandbox.control("DELETE", "/faults")
    reason = reason_of(refused.value)
    call, *below = traced.collector.trace(trace_id)
    assert attributes(call)["rpc.grpc.status_code"] == grpc.StatusCode.UNAVAILABLE.value[0]
    assert (attributes(call)["error.type"], call.status.code) == (reason, Status.STATUS_CODE_ERROR)
    tries = [one for one in below if one.name == "GET"]
    assert {(attributes(one)["http.response.status_code"], attributes(one)["error.type"]) for one in tries} == {
        (503, "503")
    }
    assert len(tries) > 1
    assert {(one.status.message, len(one.events)) for one in (call, *below)} == {("", 0)}


def lines_of(traced: Traced, trace_id: str) -> list[dict[str, Any]]:
    """The log lines of a trace; waits for the first, since lines are written some milliseconds later."""

    def found() -> list[dict[str, Any]]:
        lines = traced.process.log_text.splitlines()
        return [json.loads(line) for line in lines if trace_id in line and line.endswith("}")]

    lines: list[dict[str, Any]] = eventually(found)
    return lines


def test_the_callers_decision_is_respected(traced: Traced) -> None:
    """What the caller did not sample is not sampled here; its log line still names the trace."""
    unsampled, metadata = parent(sampled=False)
    submit(traced.channel, metadata)
    sampled, metadata = parent()
    submit(traced.channel, metadata)
    traced.collector.trace(sampled)
    assert unsampled not in {span.trace_id.hex() for span in traced.collector.spans}
    assert [line["event"] for line in lines_of(traced, unsampled)] == ["call"]


def test_the_log_line_names_its_span(traced: Traced) -> None:
    """trace_id and span_id are those of the call's span."""
    trace_id, metadata = parent()
    submit(traced.channel, metadata)
    call, _ = traced.collector.trace(trace_id)
    (line,) = lines_of(traced, trace_id)
    assert (line["trace_id"], line["span_id"]) == (trace_id, call.span_id.hex())


def scrape(process: GatewayProcess, accept: str) -> tuple[str, str]:
    with urlopen(Request(f"http://{process.admin_address}/metrics", headers={"Accept": accept}), timeout=10) as answer:
        return answer.headers["Content-Type"], answer.read().decode()


def test_exemplars_name_traces_in_openmetrics_only(traced: Traced) -> None:
    """A scraper that takes OpenMetrics gets an example for each bucket of the latencies; others see no difference."""
    trace_id, metadata = parent()
    submit(traced.channel, metadata)
    traced.collector.trace(trace_id)
    kind, text = scrape(traced.process, "application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    assert kind.startswith("application/openmetrics-text")
    examples = {
        (sample.name, sample.labels.get("method", sample.labels.get("surface", ""))): sample.exemplar.labels
        for family in text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
        for sample in family.samples
        if sample.exemplar and sample.exemplar.labels["trace_id"] == trace_id
    }
    assert set(examples) == {
        ("phoenix_gateway_call_seconds_bucket", f"/{CALL}EventService/SubmitEvent"),
        ("phoenix_gateway_upstream_seconds_bucket", "ingestion"),
    }
    kind, text = scrape(traced.process, "text/plain")
    assert kind.startswith("text/plain")
    assert "trace_id" not in text


def test_no_user_payload_or_secret_is_in_a_trace(traced: Traced, sandbox: SandboxProcess) -> None:
    """Everything that this module's collector got is searched."""
    submit(traced.channel, parent()[1])
    stub = leaderboards_pb2_grpc.LeaderboardServiceStub(traced.channel)
    trace_id, metadata = parent()
    make(sandbox, "xp", {USER: 5})
    stub.GetUserRank(
        leaderboards_pb2.GetUserRankRequest(leaderboard_id="xp", user_id=USER), timeout=20, metadata=metadata
    )
    traced.collector.trace(trace_id)
    given = [traced.process.environ[name] for name in ("INGESTION_HMAC_SECRET", "ADMIN_API_KEY", "GATEWAY_CACHE_KEYS")]
    given += [traced.process.environ["DATABASE_URL"], HEADER, USER, PLAYER, "payload-6d1e", "reserve_cash"]
    assert len(traced.collector.raw) > 1000
    assert [one for one in given if one.encode() in traced.collector.raw] == []


def test_the_other_front_traces_alike(sandbox: SandboxProcess) -> None:
    """Whichever front carries the calls; with SQLite, and every call sampled without a caller's trace."""
    with Collector() as collector:
        environ = settings(
            sandbox, collector, GATEWAY_FRONT=OTHER_FRONT, OTEL_SERVICE_NAME="edge", OTEL_TRACES_SAMPLER="always_on"
        )
        with GatewayProcess(environ) as process, grpc.insecure_channel(process.address) as channel:
            submit(channel, (), delivery=events_pb2.DELIVERY_DURABLE)
            spans = collector.wait(lambda spans: any(span.links for span in spans))
    (call,) = [span for span in spans if span.name.endswith("SubmitEvent")]
    (delivery,) = [span for span in spans if span.links]
    assert delivery.links[0].span_id == call.span_id
    assert collector.resources[0]["service.name"] == "edge"


@pytest.mark.faults
def test_a_collector_that_hangs_costs_no_call(sandbox: SandboxProcess) -> None:
    """Calls are answered, spans beyond the queue are counted as dropped, and the gateway stops in time."""
    with Collector() as collector:
        collector.hang()
        environ = settings(sandbox, collector, OTEL_BSP_MAX_QUEUE_SIZE="10", OTEL_BSP_MAX_EXPORT_BATCH_SIZE="5")
        with GatewayProcess(environ) as process, grpc.insecure_channel(process.address) as channel:
            for _ in range(20):
                submit(channel, parent()[1])
            _, text = scrape(process, "text/plain")
            began = time.monotonic()
            assert process.stop() == 0
            assert time.monotonic() - began < 10
    (dropped,) = [
        line for line in text.splitlines() if line.startswith('phoenix_gateway_trace_spans_total{result="dropped"}')
    ]
    assert float(dropped.split()[-1]) > 0


def test_a_collector_that_is_gone_is_logged_once(sandbox: SandboxProcess) -> None:
    """Its spans are counted as failed."""
    with Collector() as collector:
        pass
    environ = settings(sandbox, collector, OTEL_EXPORTER_OTLP_TIMEOUT="1")
    with GatewayProcess(environ) as process, grpc.insecure_channel(process.address) as channel:
        until = time.monotonic() + 30
        while '"part":"traces"' not in process.log_text:
            submit(channel, parent()[1])
            assert time.monotonic() < until
        submit(channel, parent()[1])
        lines = [json.loads(line) for line in process.log_text.splitlines() if '"part":"traces"' in line]
        _, text = scrape(process, "text/plain")
    assert [(line["event"], line["address"]) for line in lines] == [("not available", collector.endpoint)]
    assert 'phoenix_gateway_trace_spans_total{result="failed"} 0.0' not in text
    assert HEADER not in json.dumps(lines)
