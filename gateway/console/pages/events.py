"""*Events*: the queue of durable events, and dead letters by reason, which a person may send again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from gateway.console.pages.now import in_order
from gateway.console.visit import Page, Visit
from gateway.v1 import events_pb2

SHOWN = 50
COUNTED_PAGES = 5
"""Dead letters are counted in so many pages of 1,000; what comes after is said to be more."""
DOUBTFUL = "OUTCOME_UNKNOWN"


async def show(visit: Visit) -> Page:
    """Show the queue, and the dead letters of one tenant."""
    tenant = visit.field("tenant", visit.tenants[0] if visit.tenants else "")
    steps = in_order(await visit.sources.history())
    values: dict[str, Any] = {
        "tenant": tenant,
        "waiting": [_gauge(step, "queue_events") for step in steps],
        "oldest_s": [_gauge(step, "queue_oldest_s") for step in steps],
        "letters": [],
        "reasons": Counter[str](),
        "more": False,
        "next": "",
        "reason": visit.field("reason"),
        "results": None,
        "doubtful": DOUBTFUL,
    }
    if tenant and visit.may("EventService/ListDeadLetters"):
        values |= await _letters(visit, tenant)
    return Page(template="events.html", values=values)


async def redrive(visit: Visit) -> Page:
    """Send the chosen dead letters again."""
    tenant = visit.field("tenant")
    chosen = [name.removeprefix("id:") for name in visit.fields if name.startswith("id:")]
    if not chosen:
        return Page(template="events_done.html", values={"tenant": tenant, "results": [], "doubtful": 0}, status=400)
    request = events_pb2.RedriveDeadLettersRequest(
        tenant_id=tenant, event_ids=chosen, may_count_twice=visit.field("may_count_twice") == "yes"
    )
    answer = await visit.calls(
        visit.visitor, "EventService/RedriveDeadLetters", request, events_pb2.RedriveDeadLettersResponse
    )
    refused = sum(1 for one in answer.results if one.HasField("error"))
    return Page(template="events_done.html", values={"tenant": tenant, "results": answer.results, "doubtful": refused})


async def _letters(visit: Visit, tenant: str) -> dict[str, Any]:
    reasons: Counter[str] = Counter()
    token = ""
    for _ in range(COUNTED_PAGES):
        counted = await _page(visit, tenant, "", 1000, token)
        reasons.update(letter.reason for letter in counted.dead_letters)
        token = counted.next_page_token
        if not token:
            break
    shown = await _page(visit, tenant, visit.field("reason"), SHOWN, visit.field("page"))
    return {"letters": shown.dead_letters, "reasons": reasons, "more": bool(token), "next": shown.next_page_token}


async def _page(visit: Visit, tenant: str, reason: str, size: int, token: str) -> events_pb2.ListDeadLettersResponse:
    request = events_pb2.ListDeadLettersRequest(tenant_id=tenant, reason=reason, page_size=size, page_token=token)
    return await visit.calls(visit.visitor, "EventService/ListDeadLetters", request, events_pb2.ListDeadLettersResponse)


def _gauge(step: Mapping[str, Any] | None, name: str) -> float | None:
    return None if step is None else step["gauges"].get(name)
