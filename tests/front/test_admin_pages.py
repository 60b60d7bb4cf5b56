"""The pages of the admin port: liveness, readiness, metrics, heads of evidence and channelz."""

from __future__ import annotations

import json

import grpc
import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.front.admin import AdminServer
from tests.front.admin_bench import SERVICE, Admin, Start, start

__all__ = ["start"]


async def test_liveness_is_reported(start: Start) -> None:
    """/healthz is 200 while the process is live, otherwise 503."""
    admin = await start()
    alive = await admin.get("/healthz")
    admin.live = False
    dead = await admin.get("/healthz")
    assert [(alive[0], alive[2]), (dead[0], dead[2])] == [(200, b'{"live":true}'), (503, b'{"live":false}')]


async def test_readiness_names_each_service(start: Start) -> None:
    """/readyz is 200 with the state of each service, also if one fails but the process accepts calls."""
    admin = await start()
    admin.services = {SERVICE: False, "phoenix.gateway.v1.TokenService": True}
    status, headers, body = await admin.get("/readyz")
    assert (200, "application/json", {"ready": True, "services": admin.services}) == (
        status,
        headers["content-type"],
        json.loads(body),
    )


async def test_heads_of_evidence_are_reported(start: Start) -> None:
    """/evidence/head is the document that it is given; 503 while its store is not there, 404 where there is none."""
    admin = await start()
    none = await admin.get("/evidence/head")
    heads: list[bytes | None] = [b'{"heads":[]}', None]

    async def head() -> bytes | None:
        return heads.pop(0)

    server = AdminServer("127.0.0.1:0", admin.metrics, lambda: True, admin.readiness, evidence_head=head)
    await server.start()
    other = Admin(server=server, metrics=admin.metrics)
    reported, gone = await other.get("/evidence/head"), await other.get("/evidence/head")
    await server.stop()
    assert [(404, b'{"error":"not_found"}'), (200, b'{"heads":[]}'), (503, b'{"error":"store_unavailable"}')] == [
        (status, body) for status, _, body in (none, reported, gone)
    ]


async def test_not_ready_is_503(start: Start) -> None:
    """/readyz is 503 while the process drains."""
    admin = await start()
    admin.ready = False
    status, _, body = await admin.get("/readyz")
    assert (status, json.loads(body)["ready"]) == (503, False)


async def test_metrics_are_prometheus_text(start: Start) -> None:
    """Prometheus's own parser can read /metrics, which has the counts and the serving services."""
    admin = await start()
    admin.services = {SERVICE: False}
    admin.metrics.call_began("/a.B/C")
    admin.metrics.call_ended("/a.B/C", "OK", "", 0.0002)
    status, headers, body = await admin.get("/metrics")
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }
    assert (
        status,
        headers["content-type"],
        samples["phoenix_gateway_calls_total", "", "/a.B/C", "OK"],
        samples["phoenix_gateway_service_serving", SERVICE],
    ) == (200, "text/plain; version=0.0.4; charset=utf-8", 1.0, 0.0)


@pytest.mark.parametrize("path", ["/", "/metrics/", "/Metrics", "/healthz/../metrics", "/%6detrics", "/debug/pprof"])
async def test_unknown_path_is_404(start: Start, path: str) -> None:
    """Only the three paths exist, as they are written."""
    admin = await start()
    assert (await admin.get(path))[::2] == (404, b'{"error":"not_found"}')


async def test_trouble_is_500_without_its_text(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    """What a page raises reaches neither the client nor the log with its text."""
    admin = await start()
    admin.broken = RuntimeError("s3cr3t-in-text")
    answers = [await admin.get("/readyz"), await admin.get("/metrics")]
    captured = capsys.readouterr()
    assert [(status, body) for status, _, body in answers] == [(500, b'{"error":"internal"}')] * 2
    assert "s3cr3t" not in captured.out + captured.err


async def test_channelz_shows_the_servers_of_the_process(start: Start) -> None:
    """Its pages are the answers of grpc's own service, with the address of each gRPC listener."""
    main = grpc.aio.server()
    main.add_insecure_port("127.0.0.1:0")
    await main.start()
    admin = await start()
    status, headers, body = await admin.get("/channelz/GetServers")
    servers = json.loads(body)["server"]
    found = [one for one in servers if any("127.0.0.1" in listener["name"] for listener in one["listenSocket"])]
    server_id = found[0]["ref"]["serverId"]
    same = await admin.get(f"/channelz/GetServer?server_id={server_id}")
    await main.stop(0)
    assert (200, "application/json") == (status, headers["content-type"])
    assert found[0]["ref"] == json.loads(same[2])["server"]["ref"]


@pytest.mark.parametrize(
    "page", ["GetServer?server_id=999999", "GetServer?server_id=x", "GetServers?server=1", "Nothing", "", "__init__"]
)
async def test_what_channelz_does_not_know_is_not_found(page: str, start: Start) -> None:
    """An id, a field or a method that is not there."""
    admin = await start()
    assert 404 == (await admin.get(f"/channelz/{page}"))[0]
