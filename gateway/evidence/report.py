"""Reconcile exported evidence: counts, exact sums, and moves that need attention. Pure.

A report is about one operator in one environment. Only moves that the wallet answered with 2xx moved money; the others
are counted as refused, unfinished or held. A move with an unreadable amount is listed and is in no sum. Captures and
releases are compared with the reservation of the same order (`references.order_id`) and currency. If the report does
not have the whole order, it says so and does not guess. Source: prediction.md 4.4 to 4.6; API.md.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from decimal import Context, Decimal, Inexact, InvalidOperation

from gateway.core.json_text import DoubtfulJson, NotJsonObject, read_object
from gateway.core.types import Environment

RESERVE, CAPTURE, RELEASE = "reserve_cash", "capture_cash", "release_cash"
_EXACT = Context(prec=120, traps=[Inexact, InvalidOperation])
"""The default context rounds sums silently to 28 digits."""


class MixedReport(ValueError):
    """The moves are from more than one operator or environment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One move in a report. `amount` None: it could not be read. `status` None: unfinished."""

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
    """Reasons of the refused outcomes."""
    held: bool = False
    """Held as a suspect replay: it was never begun."""
    replays: int = 0
    """How often its recorded response was repeated."""
    conflicts: int = 0
    """The number of calls with its key and other content."""

    @property
    def moved(self) -> bool:
        """Whether the wallet answered that it made the move."""
        return self.status is not None and 200 <= self.status < 300


@dataclass(slots=True, kw_only=True)
class Line:
    """Counts and sum of one operation in one currency. `total`: the readable amounts of moves that moved money."""

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
    """What is wrong with an order, or unknown."""

    ABOVE_RESERVATION = "above_reservation"
    NO_RESERVATION = "no_reservation"
    """Captured or released, but its reservation is not in the time range of the report."""
    UNKNOWN = "unknown"
    """One of its moves is unfinished or unreadable, so its sums are unknown."""


@dataclass(slots=True, kw_only=True)
class Order:
    """The amounts reserved, captured and released for one order in one currency."""

    order_id: str
    currency: str
    reserved: Decimal = Decimal(0)
    captured: Decimal = Decimal(0)
    released: Decimal = Decimal(0)
    is_reserved: bool = False
    reserve_is_certain: bool = True
    """Whether every reserve of it is finished and readable."""
    taken_is_certain: bool = True
    """The same for captures and releases. Uncounted ones could only increase the sum."""

    @property
    def taken(self) -> Decimal:
        """Captures plus releases."""
        return _EXACT.add(self.captured, self.released)

    @property
    def fault(self) -> OrderFault | None:
        """The fault of the order; None if it is correct, even if an amount is still reserved."""
        if not self.reserve_is_certain:
            return OrderFault.UNKNOWN
        if self.is_reserved and self.taken > self.reserved:
            return OrderFault.ABOVE_RESERVATION
        if not self.taken_is_certain:
            return OrderFault.UNKNOWN
        return None if self.is_reserved else OrderFault.NO_RESERVATION


@dataclass(slots=True, kw_only=True)
class Report:
    """The result. Lists have the moves in the order in which they were added."""

    operator_code: str = ""
    environment: Environment | None = None
    moves: int = 0
    lines: list[Line] = field(default_factory=list)
    unfinished: list[Move] = field(default_factory=list)
    held: list[Move] = field(default_factory=list)
    unreadable: list[Move] = field(default_factory=list)
    suspects: list[Move] = field(default_factory=list)
    late: list[Move] = field(default_factory=list)
    """Moves with refused outcomes."""
    conflicts: list[Move] = field(default_factory=list)
    """Moves whose key was also used with other content."""
    replays: int = 0
    """Repeated responses of all moves."""
    reclaimed: int = 0
    """Moves with more than one attempt."""
    unbound: int = 0
    """Reserves, captures and releases without an order. They are compared with no reservation."""
    orders: list[Order] = field(default_factory=list)
    """Only those with a fault."""


class Reconciliation:
    """Takes moves one by one, each once and in any order. It keeps a few numbers for each order, not the moves."""

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
            raise MixedReport("the export has moves of several operators or environments; make one export for each")
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
        """Return the report."""
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
    """Return the order id of a move; None if it has none, or none that can be read."""
    if not references_json:
        return None
    try:
        order_id = read_object(references_json.encode()).get("order_id")
    except (DoubtfulJson, NotJsonObject, ValueError):
        return None
    return order_id if isinstance(order_id, str) and order_id else None
