"""The arithmetic of reconciliation."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from gateway.core.types import Environment
from gateway.evidence.report import MixedReport, Move, OrderFault, Reconciliation, Report, order_of


def move(operation: str, amount: str | None = "10.00", order: str | None = "o-1", **changes: Any) -> Move:
    """A finished move of real euros."""
    values: dict[str, Any] = {
        "operator_code": "acme",
        "environment": Environment.PROD,
        "operation_id": "id",
        "operation": operation,
        "idempotency_key": "key",
        "received_at_us": 1,
        "currency": "EUR",
        "amount": None if amount is None else Decimal(amount),
        "amount_json": "{}",
        "references_json": "" if order is None else f'{{"order_id":"{order}"}}',
        "status": 200,
        "attempt": 1,
        "suspect_replay": False,
        "incidents": (),
        **changes,
    }
    return Move(**values)


def reported(*moves: Move) -> Report:
    reconciliation = Reconciliation()
    for one in moves:
        reconciliation.add(one)
    return reconciliation.report()


def test_counts_and_sums_by_operation_and_currency() -> None:
    """Only what moved money is in a sum; the rest is counted beside it."""
    report = reported(
        move("credit_cash", "0.10"),
        move("credit_cash", "0.20"),
        move("credit_cash", "5", status=422),
        move("credit_cash", "7", status=None),
        move("credit_cash", "1", currency="USD"),
        move("credit_cash", None),
    )
    lines = [(one.currency, one.moved, one.refused, one.unfinished, one.unreadable, one.total) for one in report.lines]
    assert [("EUR", 3, 1, 1, 1, Decimal("0.30")), ("USD", 1, 0, 0, 0, Decimal(1))] == lines
    assert 1 == len(report.unreadable)
    assert 1 == len(report.unfinished)


def test_sums_are_exact() -> None:
    """Beyond the 28 digits at which decimals are rounded by default."""
    report = reported(move("credit_cash", "12345678901234567890.123456789012345678"), move("credit_cash", "1"))
    assert Decimal("12345678901234567891.123456789012345678") == report.lines[0].total


def test_an_environment_is_never_mixed_with_the_other() -> None:
    """Nor an operator with another."""
    for other in ({"environment": Environment.SANDBOX}, {"operator_code": "other"}):
        with pytest.raises(MixedReport):
            reported(move("credit_cash"), move("credit_cash", **other))


@pytest.mark.parametrize(
    ("moves", "fault"),
    [
        ([move("reserve_cash"), move("capture_cash", "4"), move("release_cash", "6")], None),
        ([move("capture_cash", "4"), move("release_cash", "6"), move("reserve_cash")], None),
        ([move("reserve_cash"), move("capture_cash", "4")], None),
        ([move("reserve_cash")], None),
        ([move("reserve_cash"), move("capture_cash", "4"), move("release_cash", "6.01")], OrderFault.ABOVE_RESERVATION),
        ([move("reserve_cash"), move("capture_cash", "11", status=422)], None),
        ([move("reserve_cash", status=422), move("capture_cash", "1")], OrderFault.NO_RESERVATION),
        ([move("release_cash", "1")], OrderFault.NO_RESERVATION),
        ([move("reserve_cash"), move("capture_cash", "1", currency="USD")], OrderFault.NO_RESERVATION),
        ([move("reserve_cash"), move("capture_cash", "1", order="o-2")], OrderFault.NO_RESERVATION),
        ([move("reserve_cash", None), move("capture_cash", "99")], OrderFault.UNKNOWN),
        ([move("reserve_cash"), move("capture_cash", None)], OrderFault.UNKNOWN),
        ([move("reserve_cash"), move("capture_cash", status=None)], OrderFault.UNKNOWN),
        (
            [move("reserve_cash"), move("capture_cash", None), move("release_cash", "10.01")],
            OrderFault.ABOVE_RESERVATION,
        ),
    ],
)
def test_captures_and_releases_against_their_reservation(moves: list[Move], fault: OrderFault | None) -> None:
    """Reported if it is certain, in any order of arrival; otherwise reported as unknown."""
    assert [fault] == ([order.fault for order in reported(*moves).orders] or [None])


def test_operations_that_need_attention_are_listed() -> None:
    """Suspect replays, late outcomes, reclaimed operations, operations without an order."""
    report = reported(
        move("reserve_cash", suspect_replay=True),
        move("reserve_cash", incidents=("STALE_ATTEMPT",), attempt=2),
        move("capture_cash", order=None),
        move("credit_cash", order=None),
    )
    assert (1, 1, 1, 1) == (len(report.suspects), len(report.late), report.reclaimed, report.unbound)


@pytest.mark.parametrize("references", ["", "[]", "{", "{}", '{"order_id":7}', '{"order_id":""}', '{"order_id":null}'])
def test_references_without_an_order(references: str) -> None:
    """Never guessed."""
    assert order_of(references) is None


def test_what_came_again_is_counted_by_operation_and_currency() -> None:
    """Replays and conflicts of each line, and the moves that were contradicted."""
    one = move("credit_cash", replays=2, conflicts=3)
    report = reported(one, move("credit_cash", replays=1), move("reserve_cash", currency="USD"))
    assert [("credit_cash", 3, 3), ("reserve_cash", 0, 0)] == [
        (line.operation, line.replays, line.conflicts) for line in report.lines
    ]
    assert (3, [one]) == (report.replays, report.conflicts)


def test_a_held_move_is_neither_unfinished_nor_a_doubt_about_its_order() -> None:
    """It was never begun, so its order's sums are known without it."""
    held = move("reserve_cash", "99.00", status=None, held=True, attempt=0, suspect_replay=True)
    report = reported(move("reserve_cash"), move("capture_cash"), held)
    assert ([held], [], [held], []) == (report.held, report.unfinished, report.suspects, report.orders)
    assert [0, 1] == [line.held for line in report.lines]
    assert 0 == sum(line.unfinished for line in report.lines)
