"""Answers requests below /console: who may look, which page, and the headers that keep other sites out.

Whoever comes without a certificate that the policy lists, or, on a port without TLS, not from this machine, gets the
same 404 as for any other path. A form is taken only from a page of the console itself: with its token, from its own
origin.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from aiohttp import web

from gateway.console.calls import MakeCalls, Refused
from gateway.console.pages import boards, events, explain, keys, now, wallet
from gateway.console.rendering import ASSETS, render
from gateway.console.visit import Page, Sources, Visit
from gateway.console.visitors import Visitors

ROOT = "/console"
COOKIE = "phoenix-gateway-form"
MAX_FORM_BYTES = 64 * 1024
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}

ShowPage = Callable[[Visit], Awaitable[Page]]
_READS: Mapping[str, ShowPage] = {
    "": now.show,
    "wallet": wallet.search,
    "wallet/attention": wallet.attention,
    "wallet/day": wallet.day,
    "wallet/day.csv": wallet.day_as_csv,
    "events": events.show,
    "keys": keys.show,
    "boards": boards.show,
    "boards/entries": boards.entries,
    "explain": explain.show,
}
_BELOW: Mapping[str, ShowPage] = {"wallet/operation": wallet.operation, "wallet/proof": wallet.proof}
_ACTIONS: Mapping[str, ShowPage] = {"events/redrive": events.redrive}


class Console:
    """The pages. `is_here` tells which paths are below the console."""

    def __init__(self, calls: MakeCalls, sources: Sources, visitors: Visitors) -> None:
        self._calls = calls
        self._sources = sources
        self._visitors = visitors

    def is_here(self, path: str) -> bool:
        """Whether the console answers this path."""
        return path == ROOT or path.startswith(f"{ROOT}/")

    async def stop(self) -> None:
        """Stop what goes on behind the pages."""
        await self._sources.days.stop()

    async def answer(self, request: web.BaseRequest) -> web.Response | None:
        """Return the page; None where there is none for this visitor."""
        found = self._visitors.of(request)
        if found is None:
            return _ask_password() if self._visitors.asks_password(request) else None
        visitor, grant = found
        path = request.rel_url.raw_path.removeprefix(ROOT).strip("/")
        if (asset := ASSETS.get(path)) is not None:
            return web.Response(body=asset.body, headers={**HEADERS, "Content-Type": asset.content_type})
        above, _, rest = path.rpartition("/")
        is_action = request.method == "POST"
        show = (_ACTIONS if is_action else _READS).get(path) or (None if is_action else _BELOW.get(above))
        if show is None or request.method not in ("GET", "HEAD", "POST"):
            return None
        token = request.cookies.get(COOKIE, "") or secrets.token_urlsafe(24)
        if is_action:
            fields = await _form(request)
            if fields is None or not _is_own_form(request, fields, token):
                return self._rendered(_not_own_form(), None, token)
        else:
            fields = dict(request.rel_url.query)
        visit = Visit(
            visitor=visitor,
            grant=grant,
            calls=self._calls,
            sources=self._sources,
            fields=fields,
            now=datetime.now(UTC),
            rest=rest if above in _BELOW else "",
            form_token=token,
        )
        try:
            page = await show(visit)
        except Refused as refused:
            page = Page(template="refused.html", values={"refused": refused}, status=_STATUSES.get(refused.reason, 502))
        return self._rendered(page, visit, token)

    def _rendered(self, page: Page, visit: Visit | None, token: str) -> web.Response:
        if page.location:
            answer = web.Response(status=303, headers={**HEADERS, "Location": page.location})
        elif page.file_name:
            headers = {"Content-Type": "text/csv; charset=utf-8"}
            headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(page.file_name)}"
            answer = web.Response(body=page.body, headers={**HEADERS, **headers})
        else:
            body = render(page, visit)
            answer = web.Response(
                status=page.status, body=body, headers={**HEADERS, "Content-Type": "text/html; charset=utf-8"}
            )
        answer.set_cookie(COOKIE, token, path=ROOT, httponly=True, samesite="Strict", secure=self._visitors.has_tls)
        return answer


_STATUSES = {
    "NOT_ALLOWED": 403,
    "INVALID_FIELD": 400,
    "PHOENIX_NOT_FOUND": 404,
    "RATE_LIMITED": 429,
    "DISABLED": 503,
    "OVERLOADED": 503,
}


def _ask_password() -> web.Response:
    headers = {"WWW-Authenticate": 'Basic realm="Phoenix Gateway: GATEWAY_DEV_TOKEN as the password"'}
    return web.Response(status=401, headers={**HEADERS, **headers})


def _not_own_form() -> Page:
    refused = Refused("FORM_REFUSED", "The form is not of this console, or is too old. Load the page again.", "")
    return Page(template="refused.html", values={"refused": refused}, status=403)


async def _form(request: web.BaseRequest) -> dict[str, str] | None:
    """Return the fields of a form, the last of those that come twice; None for anything else."""
    if request.content_type != "application/x-www-form-urlencoded":
        return None
    body = bytearray()
    async for part in request.content.iter_chunked(4096):
        body += part
        if len(body) > MAX_FORM_BYTES:
            return None
    try:
        return {name: values[-1] for name, values in parse_qs(body.decode(), max_num_fields=2000).items()}
    except ValueError:
        return None


def _is_own_form(request: web.BaseRequest, fields: Mapping[str, Any], token: str) -> bool:
    """Whether a page of this console sent the form: another site knows no token, and its browser names its origin."""
    origin = request.headers.get("Origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("Host", ""):
        return False
    if request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
        return False
    return secrets.compare_digest(str(fields.get("form_token", "")), token) and COOKIE in request.cookies
