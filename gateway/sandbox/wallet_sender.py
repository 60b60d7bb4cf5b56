"""Sends wallet webhooks to an operator's server and treats the answers as Phoenix would.

Source: Wallet Operations; Idempotency; Errors. 2xx is success; 422 a business refusal; 400, 401, 403 final; 409, 503
and no answer lead to another attempt with the same key and a new x-request-id; an attempt that timed out is probed
by transaction_status first. Assumptions: other statuses are tried again; counts and pauses; a probe ends the matter
only when its answer's `status`, `state` or `type` says completed or rejected.
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

from gateway.sandbox.options import is_loopback
from gateway.sandbox.wallet_calls import MEMBERS, BadWish, WalletCall, again, make_call, make_probe
from gateway.sandbox.world import World

MAX_ANSWER_BYTES = 1_000_000
_OPTIONS = {"target", "timeout_s", "retries", "pause_ms", "ca_file", "probe"}
_DONE = {"completed", "finished", "success", "done", "applied"}
_REFUSED = {"rejected", "refused", "failed"}


def treatment(status: int | None) -> str:
    """Return what Phoenix makes of an answer: success, rejected, terminal or retry; None is no answer."""
    if status is None:
        return "retry"
    if 200 <= status < 300:
        return "success"
    if status == 422:
        return "rejected"
    return "terminal" if status in (400, 401, 403) else "retry"


async def send(wish: dict[str, Any], world: World) -> dict[str, Any]:
    """Send the call that `wish` asks for (as `make_call`, plus target, timeout_s, retries, pause_ms, ca_file, probe).

    Returns all attempts and probes, and the last answer with its treatment; `gave_up` when attempts ran out.
    Raises BadWish.
    """
    unknown = set(wish) - MEMBERS - _OPTIONS
    if unknown:
        raise BadWish(f"no such member: {', '.join(sorted(unknown))}")
    target = _target(wish)
    retries, pause_s = _number(wish, "retries", 0), _number(wish, "pause_ms", 50) / 1000
    timeout_s = _number(wish, "timeout_s", 5)
    call = make_call({name: value for name, value in wish.items() if name in MEMBERS}, world)
    attempts: list[dict[str, Any]] = []
    probes: list[dict[str, Any]] = []
    outcome = "retry"
    timeout = aiohttp.ClientTimeout(total=timeout_s)
    connector = aiohttp.TCPConnector(ssl=_trust(wish)) if target.startswith("https:") else aiohttp.TCPConnector()
    async with aiohttp.ClientSession(timeout=timeout, connector=connector, auto_decompress=False) as session:
        for attempt in range(int(retries) + 1):
            if attempt:
                await asyncio.sleep(pause_s)
                call = again(call)
            answer = await _post(session, target, call)
            attempts.append(answer)
            outcome = answer["treatment"]
            if outcome != "retry":
                break
            probe = make_probe(call, world) if answer["status"] is None and wish.get("probe", True) else None
            if probe is not None:
                found = await _post(session, target, probe)
                probes.append(found)
                settled = _settled(found)
                if settled is not None:
                    outcome = settled
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


async def _post(session: aiohttp.ClientSession, target: str, call: WalletCall) -> dict[str, Any]:
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
        "treatment": treatment(status),
        "elapsed_ms": round((time.monotonic() - began) * 1000, 3),
    }


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """Return the body, or its first MAX_ANSWER_BYTES where there is more."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) >= MAX_ANSWER_BYTES:
            break
    return bytes(body[:MAX_ANSWER_BYTES])


def _settled(probe: dict[str, Any]) -> str | None:
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


def _target(wish: dict[str, Any]) -> str:
    target = wish.get("target")
    if not isinstance(target, str):
        raise BadWish("target: the wallet's base URL")
    parts = urlsplit(target)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BadWish("target: an http or https URL")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise BadWish("target: http only to loopback")
    return target.rstrip("/")


def _trust(wish: dict[str, Any]) -> ssl.SSLContext:
    file = wish.get("ca_file")
    if file is not None and (not isinstance(file, str) or not Path(file).is_file()):
        raise BadWish("ca_file: no such file")
    try:
        return ssl.create_default_context(cafile=file)
    except ssl.SSLError:
        raise BadWish("ca_file: not certificates in PEM") from None


def _number(wish: dict[str, Any], name: str, default: float) -> float:
    value = wish.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 3600:
        raise BadWish(f"{name}: a number from 0 to 3600")
    return value
