"""Sends wallet webhooks to an operator's server and handles the answers as Phoenix does.

Source: Wallet Operations; Idempotency; Errors. 2xx is success, 422 a business refusal. 400, 401 and 403 are final.
After 409, 503 or no answer, the sandbox tries again with the same key and a new x-request-id. After a timeout it first
sends a transaction_status probe. Assumptions: other statuses are retried; the number of attempts and the pauses. A
probe is conclusive only if `status`, `state` or `type` of its answer says completed or rejected.
"""

import asyncio
import base64
import ssl
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import orjson

from gateway.sandbox.control_input import InvalidControlRequest, read_number, reject_unknown
from gateway.sandbox.options import is_loopback
from gateway.sandbox.state import SandboxState
from gateway.sandbox.wallet_webhooks import MEMBERS, WalletWebhook, make_probe, make_webhook, next_attempt

MAX_ANSWER_BYTES = 1_000_000
_OPTIONS = {"target", "timeout_s", "retries", "pause_ms", "ca_file", "probe"}
_DONE = {"completed", "finished", "success", "done", "applied"}
_REFUSED = {"rejected", "refused", "failed"}


def classify(status: int | None) -> str:
    """Return how Phoenix treats an answer: success, rejected, terminal or retry. `status` None means no answer."""
    if status is None:
        return "retry"
    if 200 <= status < 300:
        return "success"
    if status == 422:
        return "rejected"
    return "terminal" if status in (400, 401, 403) else "retry"


async def send_webhook(request: dict[str, Any], state: SandboxState) -> dict[str, Any]:
    """Send the webhook that a control request describes.

    Members: those of `make_webhook`, and target, timeout_s, retries, pause_ms, ca_file, probe.
    Returns all attempts and probes, and the last answer with its treatment. `gave_up` means that no attempt is left.
    Raises InvalidControlRequest.
    """
    reject_unknown(request, MEMBERS | _OPTIONS)
    target = _target(request)
    retries = int(read_number(request, "retries", 0, 0, 3600))
    pause_s = read_number(request, "pause_ms", 50, 0, 3600) / 1000
    timeout_s = read_number(request, "timeout_s", 5, 0, 3600)
    call = make_webhook({name: value for name, value in request.items() if name in MEMBERS}, state)
    attempts: list[dict[str, Any]] = []
    probes: list[dict[str, Any]] = []
    outcome = "retry"
    timeout = aiohttp.ClientTimeout(total=timeout_s)
    connector = aiohttp.TCPConnector(ssl=_trust(request)) if target.startswith("https:") else aiohttp.TCPConnector()
    async with aiohttp.ClientSession(timeout=timeout, connector=connector, auto_decompress=False) as session:
        for attempt in range(retries + 1):
            if attempt:
                await asyncio.sleep(pause_s)
                call = next_attempt(call)
            answer = await _post(session, target, call)
            attempts.append(answer)
            outcome = answer["treatment"]
            if outcome != "retry":
                break
            probe = make_probe(call, state) if answer["status"] is None and request.get("probe", True) else None
            if probe is not None:
                found = await _post(session, target, probe)
                probes.append(found)
                final = _final_outcome(found)
                if final is not None:
                    outcome = final
                    break
    last = attempts[-1]
    return {
        "idempotency_key": call.idempotency_key,
        "attempts": attempts,
        "probes": probes,
        "status": last["status"],
        "body_base64": last["body_base64"],
        "treatment": outcome,
        "gave_up": outcome == "retry",
    }


async def _post(session: aiohttp.ClientSession, target: str, call: WalletWebhook) -> dict[str, Any]:
    began = time.monotonic()
    status: int | None = None
    body, content_type, error = b"", None, None
    try:
        async with session.post(
            target + call.path, data=call.body, headers=call.headers, allow_redirects=False
        ) as response:
            body = await _read(response)
            status, content_type = response.status, response.headers.get("content-type")
    except TimeoutError:
        error = "timeout"
    except (aiohttp.ClientError, OSError) as failed:
        error = type(failed).__name__
    return {
        "request_id": next(value for name, value in call.headers if name == "x-request-id"),
        "status": status,
        "content_type": content_type,
        "body_base64": base64.b64encode(body).decode(),
        "error": error,
        "treatment": classify(status),
        "elapsed_ms": round((time.monotonic() - began) * 1000, 3),
    }


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """Return the body, at most MAX_ANSWER_BYTES of it."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) >= MAX_ANSWER_BYTES:
            break
    return bytes(body[:MAX_ANSWER_BYTES])


def _final_outcome(probe: dict[str, Any]) -> str | None:
    if probe["treatment"] != "success":
        return None
    try:
        body = orjson.loads(base64.b64decode(probe["body_base64"]))
    except orjson.JSONDecodeError:
        return None
    if not isinstance(body, dict):
        return None
    words = {str(body.get(name, "")).lower() for name in ("status", "state", "type")}
    if words & _REFUSED:
        return "rejected"
    return "success" if words & _DONE else None


def _target(request: dict[str, Any]) -> str:
    target = request.get("target")
    if not isinstance(target, str):
        raise InvalidControlRequest("target: must be the wallet's base URL")
    parts = urlsplit(target)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidControlRequest("target: must be an http or https URL")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise InvalidControlRequest("target: http is allowed only to loopback")
    return target.rstrip("/")


def _trust(request: dict[str, Any]) -> ssl.SSLContext:
    file = request.get("ca_file")
    if file is not None and (not isinstance(file, str) or not Path(file).is_file()):
        raise InvalidControlRequest("ca_file: no such file")
    try:
        return ssl.create_default_context(cafile=file)
    except ssl.SSLError:
        raise InvalidControlRequest("ca_file: must hold certificates in PEM") from None
