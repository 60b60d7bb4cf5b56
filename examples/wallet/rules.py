"""What each operation does to a player's money: decimals in, decimals out. No storage, no network.

Leaves "once per key" to ledger.py. Source: prediction.md 4.3, 4.6 and 4.8.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Context, Decimal, Inexact, InvalidOperation

_EXACT = Context(prec=80, traps=[Inexact, InvalidOperation])  # a sum that had to be rounded is an error
INSUFFICIENT_FUNDS = "insufficient_funds"
RESERVATION_EXCEEDED = "reservation_exceeded"


class Doubt(Exception):
    """The wallet cannot say for certain what is right: Phoenix gets 503 and comes again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A money move that the gateway verified. `order_id`: the order that it belongs to; "" where it names none."""

    operation: str
    idempotency_key: str
    player: str
    currency: str
    amount: Decimal
    order_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Funds:
    """A player's money in one currency. `of_order`: what is left of the order's reservation; None: there is none."""

    available: Decimal
    reserved: Decimal
    of_order: Decimal | None = None


def after(move: Move, funds: Funds | None) -> Funds | str:
    """Return the funds after a move, or the `code` of a refusal, which changes nothing.

    Args: `funds` None: the player has no account in this currency.
    Raises: Doubt where a refusal might drop money: Phoenix takes 422 as the end of the matter.
    """
    if move.amount < 0:
        raise Doubt("an amount below zero")
    if move.operation == "reserve_cash":
        if not move.order_id:
            raise Doubt("a reservation without an order cannot be found again")
        if funds is None or funds.available < move.amount:
            return INSUFFICIENT_FUNDS
        return Funds(
            available=_EXACT.subtract(funds.available, move.amount),
            reserved=_EXACT.add(funds.reserved, move.amount),
            of_order=_EXACT.add(funds.of_order or Decimal(0), move.amount),
        )
    if funds is None:
        raise Doubt("no such account")
    if move.operation == "credit_cash":
        return replace(funds, available=_EXACT.add(funds.available, move.amount))
    if move.operation not in ("capture_cash", "release_cash"):
        raise Doubt("an operation that this wallet does not know")
    if funds.of_order is None:
        raise Doubt("no such reservation; its reserve may still be on the way")
    if funds.of_order < move.amount:
        return RESERVATION_EXCEEDED
    back = move.amount if move.operation == "release_cash" else Decimal(0)
    return Funds(
        available=_EXACT.add(funds.available, back),
        reserved=_EXACT.subtract(funds.reserved, move.amount),
        of_order=_EXACT.subtract(funds.of_order, move.amount),
    )
