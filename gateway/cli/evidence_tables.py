"""Reports on the evidence of a running gateway: tables for people, JSON for programs."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import grpc

from gateway.cli.connect import print_failure
from gateway.cli.evidence_files import warn_unsettled
from gateway.cli.evidence_stream import EvidenceStream, ExportOptions, TlsFiles, with_progress
from gateway.cli.options import WrongOptions
from gateway.core.plain_text import cell, json_page, plain
from gateway.evidence.report import Move, Order, OrderFault, Reconciliation, Report
from gateway.services.exported_evidence import move_of

_SHOWN = 20


def report_on(options: ExportOptions, target: str, tls: TlsFiles, *, as_json: bool) -> int:
    """Read, reconcile, print; return the exit code: 3 when an order is above its reservation."""
    stream = EvidenceStream(options=options, target=target, tls=tls)
    reconciliation = Reconciliation()
    try:
        with_progress(stream, lambda evidence: reconciliation.add(move_of(evidence)))
    except WrongOptions as error:
        print(error, file=sys.stderr)
        return 2
    except grpc.RpcError as error:
        print_failure(target, error)
        return 1
    report = reconciliation.report()
    if as_json:
        print(json_page(as_members(report, stream)))
    else:
        _print_tables(report, options)
    warn_unsettled(stream)
    return 3 if any(order.fault is OrderFault.ABOVE_RESERVATION for order in report.orders) else 0


def as_members(report: Report, stream: EvidenceStream) -> dict[str, Any]:
    """Return the report as JSON members; amounts are decimal text."""
    return {
        "operator_code": report.operator_code,
        "environment": None if report.environment is None else report.environment.value,
        "from": None if stream.options.start is None else stream.options.start.isoformat(),
        "to": stream.options.end.isoformat(),
        "complete_until": None if stream.settled is None else stream.settled.isoformat(),
        "moves": report.moves,
        "operations": [
            {
                "operation": line.operation,
                "currency": line.currency,
                "moved": line.moved,
                "refused": line.refused,
                "unfinished": line.unfinished,
                "held": line.held,
                "unreadable": line.unreadable,
                "replays": line.replays,
                "conflicts": line.conflicts,
                "total": format(line.total, "f"),
            }
            for line in report.lines
        ],
        "orders": [
            {
                "order_id": order.order_id,
                "currency": order.currency,
                "fault": order.fault.value if order.fault else None,
                "reserved": format(order.reserved, "f"),
                "captured": format(order.captured, "f"),
                "released": format(order.released, "f"),
            }
            for order in report.orders
        ],
        **{name: [_members(move) for move in moves] for name, moves in _lists(report)},
        "replays": report.replays,
        "reclaimed": report.reclaimed,
        "without_order": report.unbound,
    }


def _lists(report: Report) -> Iterable[tuple[str, list[Move]]]:
    return (
        ("unfinished", report.unfinished),
        ("unreadable_amounts", report.unreadable),
        ("suspect_replays", report.suspects),
        ("late_outcomes", report.late),
        ("held_suspect_replays", report.held),
        ("conflicting_calls", report.conflicts),
    )


def _members(move: Move) -> dict[str, Any]:
    return {
        "operation_id": move.operation_id,
        "operation": move.operation,
        "idempotency_key": move.idempotency_key,
        "receive_time": _at(move),
        "currency": move.currency,
        "amount": None if move.amount is None else format(move.amount, "f"),
        "amount_json": move.amount_json,
        "status": move.status,
        "attempt": move.attempt,
        "incidents": list(move.incidents),
        "replays": move.replays,
        "conflicts": move.conflicts,
    }


def _at(move: Move) -> str:
    return datetime.fromtimestamp(move.received_at_us / 1_000_000, UTC).isoformat(timespec="milliseconds")


def _print_tables(report: Report, options: ExportOptions) -> None:
    from rich.console import Console

    console = Console()
    console = console if console.is_terminal else Console(width=160)
    place = f"{report.operator_code} {report.environment.value}" if report.environment else "no moves"
    since = "the first" if options.start is None else options.start.isoformat(timespec="seconds")
    until = options.end.isoformat(timespec="seconds")
    console.print(plain(f"{place}: {report.moves} moves received from {since} to {until}"), markup=False)
    _table(
        console,
        "moves",
        (
            *("operation", "currency", "moved", "sum moved", "refused", "unfinished", "held", "unreadable"),
            *("replays", "conflicts"),
        ),
        [
            (
                one.operation,
                one.currency,
                one.moved,
                format(one.total, "f"),
                one.refused,
                one.unfinished,
                one.held,
                one.unreadable,
                one.replays,
                one.conflicts,
            )
            for one in report.lines
        ],
    )
    for fault in OrderFault:
        orders = [order for order in report.orders if order.fault is fault]
        title = f"orders: {fault.value.replace('_', ' ')}"
        _table(console, title, ("order", "currency", "reserved", "captured", "released"), map(_order, orders))
    for name, moves in _lists(report):
        columns = ("received", "operation", "operation id", "amount", "status", "conflicts", "incidents")
        _table(console, name.replace("_", " "), columns, map(_move, moves))
    totals = f"replays: {report.replays}; reclaimed: {report.reclaimed}; without an order: {report.unbound}"
    console.print(totals, markup=False)


def _order(order: Order) -> tuple[object, ...]:
    sums = (format(value, "f") for value in (order.reserved, order.captured, order.released))
    return (order.order_id, order.currency, *sums)


def _move(move: Move) -> tuple[object, ...]:
    amount = move.amount_json if move.amount is None else f"{move.amount:f} {move.currency}"
    status = "held" if move.held else "unfinished" if move.status is None else move.status
    return (_at(move), move.operation, move.operation_id, amount, status, move.conflicts, " ".join(move.incidents))


def _table(console: Any, title: str, columns: Sequence[str], rows: Iterable[tuple[object, ...]]) -> None:
    """Print a table of the first rows; an empty one is left out."""
    from rich.table import Table

    all_rows = list(rows)
    if not all_rows:
        return
    table = Table(title=f"{title} ({len(all_rows)})", title_justify="left")
    for name in columns:
        number = name in (
            "moved",
            "sum moved",
            "refused",
            "unfinished",
            "held",
            "unreadable",
            "replays",
            "conflicts",
            "reserved",
            "captured",
            "released",
        )
        table.add_column(name, justify="right" if number else "left", overflow="fold")
    for row in all_rows[:_SHOWN]:
        table.add_row(*(cell(value) for value in row))
    console.print(table)
    if len(all_rows) > _SHOWN:
        console.print(f"and {len(all_rows) - _SHOWN} more: --json shows all", markup=False)
