"""One request of the doctor's to Phoenix: sent once, with nothing tried again, and what its status is called."""

from __future__ import annotations

import re
from collections.abc import Mapping

from gateway.core.wire import refused_code
from gateway.phoenix.auth.authorize import Authorize
from gateway.phoenix.http_types import Answer, Request, Sender
from gateway.resilience.deadline import Deadline

MAX_BYTES = 1024 * 1024
_CODE = re.compile(r"[A-Z][A-Z0-9_]{1,31}")
"""Capitals only: a credential that a server puts into its refusal does not look so."""


async def get(
    sender: Sender,
    base_url: str,
    raw_path: str,
    authorize: Authorize,
    deadline: Deadline,
    *,
    query: tuple[tuple[str, str], ...] = (),
) -> Answer:
    """GET with these credentials and return the answer, whatever its status.

    Raises: ExchangeFailed; KeyUnknown where the credentials are not configured.
    """
    headers: Mapping[str, str] = {"accept": "application/json", **authorize("GET", raw_path, b"")}
    request = Request(method="GET", url_base=base_url, raw_path=raw_path, query=query, headers=headers)
    return await sender.send(request, deadline, MAX_BYTES)


def is_fine(answer: Answer) -> bool:
    """Tell whether the status is a 2xx."""
    return 200 <= answer.status < 300


def code_of(answer: Answer) -> str:
    """Return Phoenix's error code, "" where there is none that can be shown."""
    code = refused_code(answer.body) or ""
    return code if _CODE.fullmatch(code) else ""


def named(answer: Answer) -> str:
    """Return the status and, where there is one, the code: `401 AUTH_001`."""
    return f"{answer.status} {code_of(answer)}".strip()
