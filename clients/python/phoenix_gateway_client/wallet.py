"""A webhook of Phoenix as a web framework holds it, and what the wallet answers.

The signature is over the raw body, so the parts are passed on as received: no parser, no decompression. Phoenix takes
400, 401 and 403 as final, so every failure on this side is 503. No framework is imported: a request is recognised by
its members.
"""

from __future__ import annotations

import inspect
import io
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from phoenix_gateway_client import v1
from phoenix_gateway_client.errors import GatewayError, WebhookUnreadable

LOG = logging.getLogger("phoenix_gateway_client")
RETRY_AFTER_S = 2
_UNAVAILABLE = b'{"type":"ERROR","error":"temporarily_unavailable"}'


@dataclass(frozen=True)
class Webhook:
    """The raw parts of a request. Make it yourself for a framework that is not recognised."""

    method: str
    path: str
    headers: Iterable[tuple[bytes, bytes]]
    body: bytes

    def request(
        self, operator_code: str, environment: v1.PhoenixEnvironment.ValueType, route: v1.WalletRoute.ValueType
    ) -> v1.VerifyWalletRequest:
        """Return the request to the gateway."""
        headers = [v1.HttpHeader(name=name.decode("latin-1"), raw_value=value) for name, value in self.headers]
        return v1.VerifyWalletRequest(
            operator_code=operator_code,
            environment=environment,
            method=self.method,
            path=self.path,
            headers=headers,
            raw_body=self.body,
            route=route,
        )


@dataclass(frozen=True)
class Reply:
    """An HTTP answer for Phoenix. `error`: the failure behind a 503, for the log."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    error: BaseException | None = None

    @classmethod
    def of_gateway(cls, reply: v1.WalletReply) -> Reply:
        """Return the gateway's reply, to be sent as it is."""
        headers = {"Content-Type": reply.content_type}
        if reply.retry_after_seconds:
            headers["Retry-After"] = str(reply.retry_after_seconds)
        return cls(reply.status, reply.body, headers)

    @classmethod
    def of_outcome(cls, status: int, body: bytes) -> Reply:
        """Return the wallet's own answer."""
        return cls(status, body, {"Content-Type": "application/problem+json" if status == 422 else "application/json"})

    @classmethod
    def of_failure(cls, error: BaseException) -> Reply:
        """Return 503: Phoenix sends the webhook again."""
        LOG.warning("a wallet webhook is answered 503: %s", cause_of(error))
        headers = {"Content-Type": "application/json", "Retry-After": str(RETRY_AFTER_S)}
        return cls(503, _UNAVAILABLE, headers, error)


def cause_of(error: BaseException) -> str:
    """Return the error for a log: the text of an error of ours, only the name of any other, which may hold the body."""
    return f"{type(error).__name__}: {error}" if isinstance(error, GatewayError) else type(error).__name__


@dataclass(frozen=True)
class WalletCall:
    """What became of a webhook. If `reply` is set, send it and do nothing else.

    Otherwise do what `found.disposition` says; docs/wallet.md has the table. A move (`is_move`) is executed once under
    the ledger's unique key, then recorded with `record_wallet_outcome`, whose reply is sent.
    """

    found: v1.VerifyWalletResponse
    body: bytes
    reply: Reply | None

    @property
    def is_move(self) -> bool:
        """Whether to execute the move: it is new, or an earlier attempt of it was never finished."""
        moves = (v1.WALLET_DISPOSITION_NEW, v1.WALLET_DISPOSITION_RECLAIMED)
        return self.reply is None and self.found.disposition in moves

    @classmethod
    def of(cls, found: v1.VerifyWalletResponse, body: bytes) -> WalletCall:
        """Return the call for an answer of the gateway. Neither verified nor refused is 503."""
        if found.HasField("reply"):
            return cls(found, body, Reply.of_gateway(found.reply))
        if found.verdict != v1.WALLET_VERDICT_VERIFIED:
            return cls.failed(WebhookUnreadable("The gateway neither verified nor refused the webhook."))
        return cls(found, body, None)

    @classmethod
    def failed(cls, error: BaseException) -> WalletCall:
        """Return the call for a failure."""
        return cls(v1.VerifyWalletResponse(), b"", Reply.of_failure(error))


def outcome(call: WalletCall, status: int, body: bytes, fields: Mapping[str, Any]) -> v1.RecordWalletOutcomeRequest:
    """Return the request that records an outcome."""
    found = call.found
    return v1.RecordWalletOutcomeRequest(
        operation_id=found.operation_id, attempt=found.attempt, response_status=status, response_body=body, **fields
    )


def read_webhook(request: Any) -> Webhook:
    """Return the raw parts of a request. Raises: WebhookUnreadable; what the framework raises."""
    webhook = _parts(request)
    if isinstance(webhook, Webhook):
        return webhook
    method, path, headers, body = webhook
    if inspect.isawaitable(body):
        if inspect.iscoroutine(body):
            body.close()
        raise WebhookUnreadable("The body of this request must be awaited: use AsyncGateway, or pass a Webhook.")
    return Webhook(method, path, headers, _whole(headers, body))


async def read_webhook_async(request: Any) -> Webhook:
    """Return the raw parts of a request, also of one whose body must be awaited."""
    webhook = _parts(request)
    if isinstance(webhook, Webhook):
        return webhook
    method, path, headers, body = webhook
    return Webhook(method, path, headers, _whole(headers, await body if inspect.isawaitable(body) else body))


_Parts = tuple[str, str, "list[tuple[bytes, bytes]]", Any]


def _parts(request: Any) -> Webhook | _Parts:
    if isinstance(request, Webhook):
        return request
    if isinstance(request, Mapping) and "wsgi.input" in request:
        return _of_wsgi(request, _wsgi_body(request))
    if hasattr(request, "raw_headers"):  # aiohttp
        return request.method, request.raw_path, list(request.raw_headers), request.read()
    scope = getattr(request, "scope", None)
    if isinstance(scope, Mapping) and "headers" in scope:  # Starlette, FastAPI, Quart, Django over ASGI
        body = request.body if hasattr(request, "body") else request.get_data()
        return _of_asgi(scope, body() if callable(body) else body)
    if hasattr(request, "META"):  # Django
        return _of_wsgi(request.META, request.body)
    environ = getattr(request, "environ", None)
    if isinstance(environ, Mapping) and hasattr(request, "get_data"):  # Flask, Werkzeug
        return _of_wsgi(environ, request.get_data())
    kind = f"{type(request).__module__}.{type(request).__qualname__}"
    raise WebhookUnreadable(f"A request of {kind} is not known: pass a Webhook with its parts.")


def _of_asgi(scope: Mapping[str, Any], body: Any) -> _Parts:
    path = scope.get("raw_path") or quote(scope["path"]).encode()
    headers = [(bytes(name), bytes(value)) for name, value in scope["headers"]]
    return scope["method"], path.decode("latin-1"), headers, body


def _of_wsgi(environ: Mapping[str, Any], body: Any) -> _Parts:
    headers = [
        (name.removeprefix("HTTP_").replace("_", "-").lower().encode("latin-1"), str(value).encode("latin-1"))
        for name, value in environ.items()
        if name.startswith("HTTP_") or (name in ("CONTENT_TYPE", "CONTENT_LENGTH") and value)
    ]
    decoded = quote(str(environ.get("SCRIPT_NAME", "")) + str(environ.get("PATH_INFO", "")), encoding="latin-1")
    path = str(environ.get("RAW_URI") or environ.get("REQUEST_URI") or decoded)
    return str(environ["REQUEST_METHOD"]), path, headers, body


def _wsgi_body(environ: Mapping[str, Any]) -> bytes:
    """Read the body, and put it back for whoever reads it next."""
    length = str(environ.get("CONTENT_LENGTH") or "")
    source = environ["wsgi.input"]
    body = bytes(source.read(int(length)) if length else source.read() if environ.get("wsgi.input_terminated") else b"")
    if isinstance(environ, dict):
        environ["wsgi.input"] = io.BytesIO(body)
    return body


def _whole(headers: list[tuple[bytes, bytes]], body: Any) -> bytes:
    """Return the body. Raises: WebhookUnreadable if it is not what was received: its signature would be "wrong"."""
    if not isinstance(body, (bytes, bytearray, memoryview)):
        kind = type(body).__name__
        raise WebhookUnreadable(f"The body is {kind}, not the bytes as received: pass them in a Webhook.")
    named = {name.lower(): value for name, value in headers}
    length = named.get(b"content-length", b"").strip()
    if (length and length != str(len(body)).encode()) or (b"transfer-encoding" in named and not body):
        raise WebhookUnreadable("The body was read before, or unpacked: pass the raw body in a Webhook.")
    return bytes(body)
