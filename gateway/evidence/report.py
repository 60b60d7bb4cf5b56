"""Reconciles exported evidence: counts, exact sums, and what somebody should look at. Pure.

One report is about one operator in one environment. Only moves that the wallet answered with 2xx moved money; the
others are counted as refused, unfinished or held. A move whose amount could not be read is listed and enters no sum.
Captures and releases are held against the reservation of the same order (`references.order_id`) and currency; where
a report cannot know the whole order, it says so in place of guessing. Source: prediction.md 4.4 to 4.6; API.md.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from decimal import Context, Decimal, Inexact, InvalidOperation

from gateway.core.json_text import DoubtfulJson, NotJsonObject, read_object
from gateway.core.types import Environment

RESERVE, CAPTURE, RELEASE = "reserve_cash", "capture_cash", "release_cash"
_EXACT = Context(prec=120, traps=[Inexact, InvalidOperation])
"""The default context would round sums silently at 28 digits."""


class MixedReport(ValueError):
    """Moves of two operators or environments were put into one report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """What a report needs of one move. `amount` None: it could not be read. `status` None: unfinished."""

    operator_code: str
    environment: Environment
    operation_id: str
    operation: str
    idempotency_key: str
    received_at_us: int
    currency: str
    amount: Decimal | None
    amount_json: str
    references_json: str
    status: int | None
    attempt: int
    suspect_replay: bool
    incidents: tuple[str, ...]
    """Reasons of the outcomes that were refused."""
    held: bool = False
    """Held as a suspect replay: it was never begun."""
    replays: int = 0
    """How often its recorded response was given again."""
    conflicts: int = 0
    """How many calls came with its key and other content."""

    @property
    def moved(self) -> bool:
        """Whether the wallet said that it did it."""
        return self.status is not None and 200 <= self.status < 300


@dataclass(slots=True, kw_only=True)
class Line:
    """Counts and sum of one operation in one currency. `total` is of the moves that moved money and can be read."""

    operation: str
    currency: str
    moved: int = 0
    refused: int = 0
    unfinished: int = 0
    held: int = 0
    unreadable: int = 0
    replays: int = 0
    conflicts: int = 0
    total: Decimal = Decimal(0)


class OrderFault(enum.Enum):
    """What is wrong, or cannot be told, about an order."""

    ABOVE_RESERVATION = "above_reservation"
    NO_RESERVATION = "no_reservation"
    """Captured or released; its reservation was not received in the report's time."""
    UNKNOWN = "unknown"
    """A move of it is unfinished or unreadable, so its sums are not known."""


@dataclass(slots=True, kw_only=True)
class Order:
    """What was reserved, captured and released of one order in one currency."""

    order_id: str
    currency: str
    reserved: Decimal = Decimal(0)
    captured: Decimal = Decimal(0)
    released: Decimal = Decimal(0)
    is_reserved: bool = False
    reserve_is_certain: bool = True
    """Whether every reserve of it is finished and readable."""
    taken_is_certain: bool = True
    """The same of captures and releases; what is not counted could only add to them."""

    @property
    def taken(self) -> Decimal:
        """Captures plus releases."""
        return _EXACT.add(self.captured, self.released)

    @property
    def fault(self) -> OrderFault | None:
        """What to say of it; None where it holds, whatever is still reserved."""
        if not self.reserve_is_certain:
            return OrderFault.UNKNOWN
        if self.is_reserved and self.taken > self.reserved:
            return OrderFault.ABOVE_RESERVATION
        if not self.taken_is_certain:
            return OrderFault.UNKNOWN
        return None if self.is_reserved else OrderFault.NO_RESERVATION


@dataclass(slots=True, kw_only=True)
class Report:
    """The result. Lists hold the moves in the order of their receipt."""

    operator_code: str = ""
    environment: Environment | None = None
    moves: int = 0
    lines: list[Line] = field(default_factory=list)
    unfinished: list[Move] = field(default_factory=list)
    held: list[Move] = field(default_factory=list)
    unreadable: list[Move] = field(default_factory=list)
    suspects: list[Move] = field(default_factory=list)
    late: list[Move] = field(default_factory=list)
    """Moves with outcomes that were refused."""
    conflicts: list[Move] = field(default_factory=list)
    """Moves whose key came with other content too."""
    replays: int = 0
    """Recorded responses that were given again, of all moves."""
    reclaimed: int = 0
    """Moves that needed more than one attempt."""
    unbound: int = 0
    """Reserves, captures and releases that name no order: they were held against no reservation."""
    orders: list[Order] = field(default_factory=list)
    """Only those with a fault."""


class Reconciliation:
    """Takes moves one by one, in any order and each once; keeps a few numbers of every order, not the moves."""

    def __init__(self) -> None:
        self._report = Report()
        self._lines: dict[tuple[str, str], Line] = {}
        self._orders: dict[tuple[str, str], Order] = {}

    def add(self, move: Move) -> None:
        """Count one move. Raises: MixedReport."""
        report = self._report
        if report.environment is None:
            report.operator_code, report.environment = move.operator_code, move.environment
        elif (report.operator_code, report.environment) != (move.operator_code, move.environment):
            raise MixedReport("a report is about one operator in one environment")
        report.moves += 1
        self._count(move)
        if move.held:
            report.held.append(move)
        elif move.status is None:
            report.unfinished.append(move)
        if move.amount is None:
            report.unreadable.append(move)
        if move.suspect_replay:
            report.suspects.append(move)
        if move.incidents:
            report.late.append(move)
        if move.conflicts:
            report.conflicts.append(move)
        report.replays += move.replays
        report.reclaimed += move.attempt > 1
        if move.operation in (RESERVE, CAPTURE, RELEASE):
            self._bind(move)

    def report(self) -> Report:
        """Return what came of it."""
        self._report.lines = [self._lines[key] for key in sorted(self._lines)]
        self._report.orders = [order for _, order in sorted(self._orders.items()) if order.fault is not None]
        return self._report

    def _count(self, move: Move) -> None:
        key = (move.operation, move.currency)
        line = self._lines.setdefault(key, Line(operation=move.operation, currency=move.currency))
        line.moved += move.moved
        line.held += move.held
        line.unfinished += move.status is None and not move.held
        line.replays += move.replays
        line.conflicts += move.conflicts
        line.refused += move.status is not None and not move.moved
        if move.amount is None:
            line.unreadable += 1
        elif move.moved:
            line.total = _EXACT.add(line.total, move.amount)

    def _bind(self, move: Move) -> None:
        if move.held or (move.status is not None and not move.moved):
            return
        order_id = order_of(move.references_json)
        if order_id is None:
            self._report.unbound += 1
            return
        key = (order_id, move.currency)
        order = self._orders.setdefault(key, Order(order_id=order_id, currency=move.currency))
        if move.amount is None or move.status is None:
            if move.operation == RESERVE:
                order.reserve_is_certain = False
            else:
                order.taken_is_certain = False
        elif move.operation == RESERVE:
            order.is_reserved = True
            order.reserved = _EXACT.add(order.reserved, move.amount)
        elif move.operation == CAPTURE:
            order.captured = _EXACT.add(order.captured, move.amount)
        else:
            order.released = _EXACT.add(order.released, move.amount)


def order_of(references_json: str) -> str | None:
    """Return the order that a move names; None where it names none that can be read."""
    if not references_json:
        return None
    try:
        order_id = read_object(references_json.encode()).get("order_id")
    except (DoubtfulJson, NotJsonObject, ValueError):
        return None
    return order_id if isinstance(order_id, str) and order_id else None
