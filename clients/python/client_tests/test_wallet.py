"""Webhooks through web frameworks: the raw parts arrive, and every failure is 503 for Phoenix.

Frameworks that are not installed are skipped here; tests/clients/test_wheel.py installs them.
"""

from __future__ import annotations

import asyncio
import importlib
import io
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest

from phoenix_gateway_client import AsyncGateway, Gateway, Reply, WalletCall, Webhook, WebhookUnreadable, v1
from phoenix_gateway_client.wallet import read_webhook
from tests.gateway_process import GatewayProcess
from tests.ports import free_port
from tests.sandbox_process import SandboxProcess

BODY = b'{"type":"SUCCESS","status":"completed"}'


class Quiet(WSGIRequestHandler):
    """Writes no log."""

    def log_message(self, *_: object) -> None:
        """Write nothing."""


def answer(gateway: Gateway, request: Any) -> Reply:
    """A wallet that books every move."""
    call = gateway.verify_wallet(request)
    if call.reply is not None:
        return call.reply
    if call.is_move:
        return gateway.record_wallet_outcome(call, 200, BODY, operator_transaction_id="tx-1")
    return Reply.of_outcome(200, b'{"available":"5.00"}')


async def answer_async(gateway: AsyncGateway, request: Any) -> Reply:
    """The same for asyncio."""
    call = await gateway.verify_wallet(request)
    if call.reply is not None:
        return call.reply
    if call.is_move:
        return await gateway.record_wallet_outcome(call, 200, BODY, operator_transaction_id="tx-1")
    return Reply.of_outcome(200, b'{"available":"5.00"}')


@contextmanager
def wsgi(app: Callable[..., Iterable[bytes]]) -> Iterator[str]:
    """Serve a WSGI application."""
    with make_server("127.0.0.1", 0, app, handler_class=Quiet) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def in_loop(serve: Callable[[asyncio.Event, Callable[[int], None]], Awaitable[None]]) -> Iterator[str]:
    """Run `serve` in the loop of another thread until the block ends; it reports its port."""
    ports: list[int] = []
    ready = threading.Event()
    ends: list[Callable[[], object]] = []

    async def main() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        ends.append(lambda: loop.call_soon_threadsafe(stop.set))
        await serve(stop, started)

    def started(port: int) -> None:
        ports.append(port)
        ready.set()

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    try:
        assert ready.wait(30)
        yield f"http://127.0.0.1:{ports[0]}"
    finally:
        ends[0]()
        thread.join()


@contextmanager
def plain_wallet(address: str) -> Iterator[str]:
    """A WSGI application without a framework."""
    with Gateway(address) as gateway:

        def app(environ: dict[str, Any], start: Any) -> list[bytes]:
            reply = answer(gateway, environ)
            start(f"{reply.status} -", list(reply.headers.items()))
            return [reply.body]

        with wsgi(app) as url:
            yield url


@contextmanager
def flask_wallet(address: str) -> Iterator[str]:
    """A Flask application."""
    flask = pytest.importorskip("flask")
    app = flask.Flask("wallet")
    with Gateway(address) as gateway:

        def webhook(_: str) -> Any:
            reply = answer(gateway, flask.request)
            return flask.Response(reply.body, reply.status, dict(reply.headers))

        app.post("/<path:_>")(webhook)
        with wsgi(app) as url:
            yield url


@contextmanager
def django_wallet(address: str) -> Iterator[str]:
    """A Django application."""
    pytest.importorskip("django")
    settings = importlib.import_module("django.conf").settings
    http, urls_module = importlib.import_module("django.http"), importlib.import_module("django.urls")
    get_wsgi_application = importlib.import_module("django.core.wsgi").get_wsgi_application

    with Gateway(address) as gateway:

        def webhook(request: Any) -> Any:
            reply = answer(gateway, request)
            return http.HttpResponse(reply.body, status=reply.status, headers=dict(reply.headers))

        urls = type("urls", (), {"urlpatterns": [urls_module.re_path("^wallet/", webhook)]})
        if not settings.configured:
            settings.configure(ROOT_URLCONF=urls, ALLOWED_HOSTS=["*"], SECRET_KEY="test")
        with wsgi(get_wsgi_application()) as url:
            yield url


@contextmanager
def aiohttp_wallet(address: str) -> Iterator[str]:
    """An aiohttp application."""
    web = pytest.importorskip("aiohttp.web")

    async def serve(stop: asyncio.Event, started: Callable[[int], None]) -> None:
        async with AsyncGateway(address) as gateway:

            async def webhook(request: Any) -> Any:
                reply = await answer_async(gateway, request)
                return web.Response(status=reply.status, body=reply.body, headers=dict(reply.headers))

            runner = web.ServerRunner(web.Server(webhook))
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            started(runner.addresses[0][1])
            await stop.wait()
            await runner.cleanup()

    with in_loop(serve) as url:
        yield url


@contextmanager
def fastapi_wallet(address: str) -> Iterator[str]:
    """A FastAPI application."""
    fastapi, uvicorn = pytest.importorskip("fastapi"), pytest.importorskip("uvicorn")

    async def serve(stop: asyncio.Event, started: Callable[[int], None]) -> None:
        app = fastapi.FastAPI()
        async with AsyncGateway(address) as gateway:

            async def webhook(request: Any) -> Any:
                reply = await answer_async(gateway, request)
                return fastapi.Response(reply.body, reply.status, dict(reply.headers))

            webhook.__annotations__["request"] = fastapi.Request
            app.post("/{path:path}")(webhook)
            port = free_port()
            server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="critical"))
            running = asyncio.ensure_future(server.serve())
            while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
                await asyncio.sleep(0.01)
            started(port)
            await stop.wait()
            server.should_exit = True
            await running

    with in_loop(serve) as url:
        yield url


WALLETS = {
    "wsgi": plain_wallet,
    "flask": flask_wallet,
    "django": django_wallet,
    "aiohttp": aiohttp_wallet,
    "fastapi": fastapi_wallet,
}


@pytest.fixture(params=WALLETS)
def wallet(request: pytest.FixtureRequest, gateway: GatewayProcess) -> Iterator[str]:
    """The URL of a wallet in a framework."""
    with WALLETS[request.param](gateway.address) as url:
        yield url


def send(sandbox: SandboxProcess, wallet: str, **members: Any) -> dict[str, Any]:
    """Have Phoenix send a webhook; return the last answer that it got, and how it is treated."""
    move = {"operation": "reserve_cash", "player": "player-1", "currency": "EUR", "amount": "12.50", **members}
    found: dict[str, Any] = sandbox.control("POST", "/wallet/send", {"target": wallet, "timeout_s": 30, **move})
    return {**found["attempts"][-1], "key": found["idempotency_key"]}


def test_a_move_is_verified_and_recorded(sandbox: SandboxProcess, wallet: str) -> None:
    """The second time it is answered from the record; a copy with other content gets 422."""
    first = send(sandbox, wallet)
    assert (first["treatment"], first["status"]) == ("success", 200)
    key = first["key"]
    assert send(sandbox, wallet, idempotency_key=key, amount="99.00")["status"] == 422


def test_a_forged_webhook_is_refused(sandbox: SandboxProcess, wallet: str) -> None:
    """The gateway's reply goes out as it is."""
    found = send(sandbox, wallet, forge="body")
    assert (found["treatment"], found["status"]) == ("terminal", 401)


def test_without_a_gateway_phoenix_gets_503(sandbox: SandboxProcess) -> None:
    """Not 500 and no final status: Phoenix sends the webhook again."""
    with plain_wallet(f"127.0.0.1:{free_port()}") as url:
        assert send(sandbox, url)["status"] == 503


def environ(body: bytes = b"{}", **more: Any) -> dict[str, Any]:
    """A WSGI environ."""
    return {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "/app",
        "PATH_INFO": "/wallet/tr\xc3\xa4ns",
        "CONTENT_LENGTH": str(len(body)),
        "CONTENT_TYPE": "application/json",
        "HTTP_IDEMPOTENCY_KEY": "k",
        "wsgi.input": io.BytesIO(body),
        **more,
    }


def test_the_raw_parts_of_wsgi() -> None:
    """Header names with hyphens, values as bytes, the path quoted; whoever reads the body next finds it."""
    given = environ(b'{"a":1}')
    found = read_webhook(given)
    assert (found.method, found.path, found.body) == ("POST", "/app/wallet/tr%C3%A4ns", b'{"a":1}')
    assert (b"idempotency-key", b"k") in list(found.headers)
    assert given["wsgi.input"].read() == b'{"a":1}'


def refused(request: Any) -> WalletCall:
    """Verify without a gateway."""
    with Gateway("127.0.0.1:1") as gateway:
        return gateway.verify_wallet(request)


@pytest.mark.parametrize(
    "request_",
    [
        environ(CONTENT_LENGTH="900"),
        environ(b"", HTTP_TRANSFER_ENCODING="chunked", CONTENT_LENGTH=""),
        {"method": "POST"},
        object(),
        None,
    ],
    ids=["read before", "chunks read before", "no request", "unknown kind", "none"],
)
def test_what_cannot_be_read_is_503(request_: Any) -> None:
    """A body that someone else has read would have a wrong signature: 401 would end a genuine payout."""
    call = refused(request_)
    assert call.reply is not None
    assert (call.reply.status, call.reply.headers["Retry-After"], call.is_move) == (503, "2", False)
    assert isinstance(call.reply.error, WebhookUnreadable)


def test_an_answer_without_a_decision_is_503() -> None:
    """Neither verified nor refused: an answer of a version that this one does not know."""
    call = WalletCall.of(v1.VerifyWalletResponse(verdict=99), b"")  # type: ignore[arg-type]
    assert call.reply is not None
    assert call.reply.status == 503


def test_an_outcome_that_is_not_recorded_is_503() -> None:
    """The wallet does not answer 200 for what the gateway does not know."""
    call = WalletCall(v1.VerifyWalletResponse(operation_id="o", attempt=1), b"", None)
    with Gateway("127.0.0.1:1") as gateway:
        assert gateway.record_wallet_outcome(call, 200, BODY).status == 503
        assert gateway.record_wallet_outcome(call, 200, BODY, no_such_field=1).status == 503


def test_parts_can_be_given(gateway: GatewayProcess, sandbox: SandboxProcess) -> None:
    """For a framework that is not recognised."""
    with Gateway(gateway.address) as one:
        call = one.verify_wallet(Webhook("POST", "/wallet/transactions", [(b"signature", b"x")], b"{}"))
    assert call.reply is not None
    assert call.reply.status == 401
