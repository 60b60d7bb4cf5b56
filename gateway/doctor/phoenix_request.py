"""One request of the doctor to Phoenix: sent once, without retries; and the text for its status."""

from __future__ import annotations

import re
from collections.abc import Mapping

from gateway.core.wire import refused_code
from gateway.phoenix.auth.authorize import AuthorizeAnywhere, awaited
from gateway.phoenix.http_types import Answer, Request, Sender
from gateway.resilience.deadline import Deadline

MAX_BYTES = 1024 * 1024
_CODE = re.compile(r"[A-Z][A-Z0-9_]{1,31}")
"""Capitals only, so that a credential which a server repeats in its refusal is not shown."""


async def get(
    sender: Sender,
    base_url: str,
    raw_path: str,
    authorize: AuthorizeAnywhere,
    deadline: Deadline,
    *,
    query: tuple[tuple[str, str], ...] = (),
) -> Answer:
    """GET with these credentials and return the answer, whatever its status.

    Raises: ExchangeFailed; KeyUnknown if the credentials are not configured.
    """
    headers: Mapping[str, str] = {"accept": "application/json", **await awaited(authorize("GET", raw_path, b""))}
    request = Request(method="GET", url_base=base_url, raw_path=raw_path, query=query, headers=headers)
    return await sender.send(request, deadline, MAX_BYTES)


def without_credentials(method: str, path: str, body: bytes) -> Mapping[str, str]:
    """Authenticate nothing; an Authorize."""
    return {}


def is_success(answer: Answer) -> bool:
    """Whether the status is a 2xx."""
    return 200 <= answer.status < 300


def error_code(answer: Answer) -> str:
    """Return Phoenix's error code, or "" if there is none that may be shown."""
    code = refused_code(answer.body) or ""
    return code if _CODE.fullmatch(code) else ""


def status_text(answer: Answer) -> str:
    """Return the status and the error code, if there is one: `401 AUTH_001`."""
    return f"{answer.status} {error_code(answer)}".strip()
