"""The effect of each operation on a player's money. Pure: no storage, no network.

ledger.py makes sure that a key has its effect only once. Source: Wallet Operations, in Phoenix's documentation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Context, Decimal, Inexact, InvalidOperation

_EXACT = Context(prec=80, traps=[Inexact, InvalidOperation])  # a result that needs rounding is an error
INSUFFICIENT_FUNDS = "insufficient_funds"
RESERVATION_EXCEEDED = "reservation_exceeded"


class Undecided(Exception):
    """The wallet cannot decide what is right. Phoenix gets 503 and tries again later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A money move that the gateway verified. `order_id` is "" if the move names no order."""

    operation: str
    idempotency_key: str
    player: str
    currency: str
    amount: Decimal
    order_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Funds:
    """A player's money in one currency. `of_order` is the rest of the order's reservation, None without one."""

    available: Decimal
    reserved: Decimal
    of_order: Decimal | None = None


def funds_after(move: Move, funds: Funds | None) -> Funds | str:
    """Return the funds after a move, or the `code` of a refusal, which changes nothing.

    Args: `funds` is None if the player has no account in this currency.
    Raises: Undecided where a refusal could lose money, because Phoenix takes a 422 as final.
    """
    if move.amount < 0:
        raise Undecided("the amount is negative")
    if move.operation == "reserve_cash":
        if not move.order_id:
            raise Undecided("a reservation needs an order id")
        if funds is None or funds.available < move.amount:
            return INSUFFICIENT_FUNDS
        return Funds(
            available=_EXACT.subtract(funds.available, move.amount),
            reserved=_EXACT.add(funds.reserved, move.amount),
            of_order=_EXACT.add(funds.of_order or Decimal(0), move.amount),
        )
    if funds is None:
        raise Undecided("the account does not exist")
    if move.operation == "credit_cash":
        return replace(funds, available=_EXACT.add(funds.available, move.amount))
    if move.operation not in ("capture_cash", "release_cash"):
        raise Undecided("the operation is unknown")
    if funds.of_order is None:
        raise Undecided("the reservation does not exist; its reserve_cash may arrive later")
    if funds.of_order < move.amount:
        return RESERVATION_EXCEEDED
    back = move.amount if move.operation == "release_cash" else Decimal(0)
    return Funds(
        available=_EXACT.add(funds.available, back),
        reserved=_EXACT.subtract(funds.reserved, move.amount),
        of_order=_EXACT.subtract(funds.of_order, move.amount),
    )
