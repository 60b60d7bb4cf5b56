"""*Wallet*: find operations, see what waits for a person, and reconcile a day.

Each page is about one operator in one environment: sandbox and prod are never in one table.
"""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from urllib.parse import urlencode

from gateway.console.calls import WITHIN_S
from gateway.console.day_reports import ANSWERS_WITHIN_S, READ_WITHIN_S, DayReport
from gateway.console.pages import wallet_story
from gateway.console.visit import Page, Visit
from gateway.core.plain_text import csv_cell
from gateway.core.rights import OperatorScope
from gateway.services.convert import environment_to_proto
from gateway.v1 import wallet_pb2

PER_PAGE = 50
SHOWN = 100
"""Orders with a fault on a page."""
COLUMNS = (
    *("date", "operator_code", "environment", "operation", "currency_code", "moved", "sum_moved", "refused"),
    *("unfinished", "held", "unreadable", "replays", "conflicts"),
)
STATES = {
    "": wallet_pb2.WALLET_OPERATION_STATE_UNSPECIFIED,
    "unfinished": wallet_pb2.WALLET_OPERATION_STATE_IN_PROGRESS,
    "finished": wallet_pb2.WALLET_OPERATION_STATE_FINISHED,
    "held": wallet_pb2.WALLET_OPERATION_STATE_HELD,
}


async def search(visit: Visit) -> Page:
    """Show the form and the operations that match: by id, by player, by time."""
    scope = _scope(visit)
    if scope is None:
        return _nothing(visit)
    wanted = visit.field("id")
    faults: list[str] = []
    values = _common(visit, scope) | {"faults": faults, "evidence": [], "next": "", "searched": False}
    if wanted:
        found = await wallet_story.find(visit, scope, wanted)
        if found is not None:
            return Page(location=f"/console/wallet/operation/{found.operation_id}?{_query(scope)}")
        faults.append(
            f"No operation has the id or idempotency key {wanted} here. Searched: all operations of {_name(scope)}."
        )
        return Page(template="wallet.html", values=values, status=404)
    start, end = _time(visit, "from", faults), _time(visit, "to", faults)
    state = visit.field("state")
    if state not in STATES:
        faults.append("state: choose one of the list.")
    if faults:
        return Page(template="wallet.html", values=values, status=400)
    request = wallet_pb2.ListWalletEvidenceRequest(
        operator_code=scope[0],
        environment=environment_to_proto(scope[1]),
        player_id=visit.field("player"),
        state=STATES[state],
        page_size=PER_PAGE,
        page_token=visit.field("page"),
        omit_bodies=True,
    )
    if start is not None:
        request.start_time.FromDatetime(start)
    if end is not None:
        request.end_time.FromDatetime(end)
    answer = await visit.calls(
        visit.visitor, "WalletService/ListWalletEvidence", request, wallet_pb2.ListWalletEvidenceResponse
    )
    values |= {"evidence": answer.evidence, "next": answer.next_page_token, "searched": True}
    return Page(template="wallet.html", values=values)


async def attention(visit: Visit) -> Page:
    """Show what waits for a person: unfinished, held and unreadable."""
    scope = _scope(visit)
    if scope is None:
        return _nothing(visit)
    values = _common(visit, scope)
    for name in ("unfinished", "held"):
        request = wallet_pb2.ListWalletEvidenceRequest(
            operator_code=scope[0],
            environment=environment_to_proto(scope[1]),
            state=STATES[name],
            page_size=100,
            omit_bodies=True,
        )
        values[name] = await visit.calls(
            visit.visitor, "WalletService/ListWalletEvidence", request, wallet_pb2.ListWalletEvidenceResponse
        )
    unreadable = wallet_pb2.ListUnreadableWebhooksRequest(
        operator_code=scope[0], environment=environment_to_proto(scope[1])
    )
    values["unreadable"] = await visit.calls(
        visit.visitor, "WalletService/ListUnreadableWebhooks", unreadable, wallet_pb2.ListUnreadableWebhooksResponse
    )
    return Page(template="wallet_attention.html", values=values)


async def day(visit: Visit) -> Page:
    """Reconcile one day."""
    scope = _scope(visit)
    if scope is None:
        return _nothing(visit)
    faults: list[str] = []
    date = _date(visit, faults)
    values = _common(visit, scope) | {"date": date, "faults": faults, "day": None, "report": None}
    if faults:
        return Page(template="wallet_day.html", values=values, status=400)
    found = await _reconcile(visit, scope, date, ANSWERS_WITHIN_S)
    values |= {"day": found, "report": found.report, "ends": date + timedelta(days=1), "shown": SHOWN}
    return Page(template="wallet_day.html", values=values)


async def day_as_csv(visit: Visit) -> Page:
    """Return the same table as a file, or the page that shows how far it is."""
    scope = _scope(visit)
    faults: list[str] = []
    date = _date(visit, faults)
    if scope is None or faults:
        return await day(visit)
    found = await _reconcile(visit, scope, date, WITHIN_S)
    if found.report is None:
        return Page(location=f"/console/wallet/day?{_query(scope)}&date={date:%Y-%m-%d}")
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(COLUMNS)
    for one in found.report.lines:
        counts = (one.refused, one.unfinished, one.held, one.unreadable, one.replays, one.conflicts)
        named = (f"{date:%Y-%m-%d}", scope[0], scope[1].value, one.operation, one.currency)
        table.writerow(csv_cell(str(value)) for value in (*named, one.moved, format(one.total, "f"), *counts))
    name = f"reconciliation-{scope[0]}-{scope[1].value}-{date:%Y-%m-%d}.csv"
    return Page(file_name=name, body=text.getvalue().encode())


async def operation(visit: Visit) -> Page:
    """Show the story of one operation."""
    scope = _scope(visit)
    if scope is None:
        return _nothing(visit)
    evidence = await wallet_story.get(visit, scope, visit.rest)
    values = _common(visit, scope) | {
        "evidence": evidence,
        "events": wallet_story.timeline(evidence, visit.now),
        "to_do": wallet_story.advice(evidence, visit.now),
    }
    return Page(template="wallet_operation.html", values=values)


async def proof(visit: Visit) -> Page:
    """Check the chain that holds one operation, now."""
    scope = _scope(visit)
    if scope is None:
        return _nothing(visit)
    evidence = await wallet_story.get(visit, scope, visit.rest)
    values = _common(visit, scope) | {"evidence": evidence}
    return Page(template="wallet_proof.html", values=values | await wallet_story.prove(visit, scope, evidence))


async def _reconcile(visit: Visit, scope: OperatorScope, date: datetime, within_s: float) -> DayReport:
    key = (visit.grant, scope, date)
    return await visit.sources.days.of(key, partial(_export, visit, scope, date), within_s)


def _export(
    visit: Visit, scope: OperatorScope, date: datetime
) -> AsyncGenerator[wallet_pb2.ExportWalletEvidenceResponse]:
    request = wallet_pb2.ExportWalletEvidenceRequest(
        operator_code=scope[0], environment=environment_to_proto(scope[1]), omit_bodies=True
    )
    request.start_time.FromDatetime(date)
    request.end_time.FromDatetime(date + timedelta(days=1))
    method = "WalletService/ExportWalletEvidence"
    return visit.calls.stream(visit.visitor, method, request, wallet_pb2.ExportWalletEvidenceResponse, READ_WITHIN_S)


def _scope(visit: Visit) -> OperatorScope | None:
    """Return the operator environment that the page is about; the first one if none is named."""
    operators = visit.operators
    if not visit.field("operator"):
        return operators[0] if operators else None
    wanted = (visit.field("operator"), visit.field("environment"))
    return next((one for one in operators if (one[0], one[1].value) == wanted), None)


def _nothing(visit: Visit) -> Page:
    return Page(template="wallet_none.html", values={"operators": visit.operators}, status=404)


def _common(visit: Visit, scope: OperatorScope) -> dict[str, Any]:
    return {
        "operator": scope[0],
        "environment": scope[1].value,
        "scope_query": _query(scope),
        "states": [name for name in STATES if name],
    }


def _name(scope: OperatorScope) -> str:
    return f"{scope[0]}/{scope[1].value}"


def _query(scope: OperatorScope) -> str:
    return urlencode({"operator": scope[0], "environment": scope[1].value})


def _time(visit: Visit, name: str, faults: list[str]) -> datetime | None:
    text = visit.field(name)
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        faults.append(f"{name}: write the time as 2026-01-31T13:45, in UTC.")
        return None
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def _date(visit: Visit, faults: list[str]) -> datetime:
    text = visit.field("date") or f"{visit.now:%Y-%m-%d}"
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        faults.append("date: write the day as 2026-01-31; it is a day in UTC.")
        return visit.now.replace(hour=0, minute=0, second=0, microsecond=0)
