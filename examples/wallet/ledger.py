"""The wallet's ledger in SQLite: the players' money, and the answer to each idempotency key.

Each move is one transaction: look up the key, change the funds, store the answer. A repeated key, after a crash or at
the same time, gets the stored answer and moves no money. Amounts are decimals, stored as text. One ledger serves one
operator in one environment. Source: Idempotency, in Phoenix's documentation.
"""

from __future__ import annotations

import json
import sqlite3
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from examples.wallet.rules import Funds, Move, Undecided, funds_after

_SCHEMA = """
CREATE TABLE IF NOT EXISTS accounts (
  player TEXT, currency TEXT, available TEXT NOT NULL, reserved TEXT NOT NULL, PRIMARY KEY (player, currency));
CREATE TABLE IF NOT EXISTS reservations (
  player TEXT, currency TEXT, order_id TEXT, reservation_id TEXT NOT NULL, remaining TEXT NOT NULL,
  PRIMARY KEY (player, currency, order_id));
CREATE TABLE IF NOT EXISTS moves (
  operation TEXT, idempotency_key TEXT, player TEXT NOT NULL, currency TEXT NOT NULL, amount TEXT NOT NULL,
  order_id TEXT NOT NULL, status INTEGER NOT NULL, body BLOB NOT NULL, transaction_id TEXT NOT NULL,
  reservation_id TEXT NOT NULL, available TEXT NOT NULL, reserved TEXT NOT NULL, processed_at_us INTEGER NOT NULL,
  PRIMARY KEY (idempotency_key, operation));
"""
_ENTRY = "status, body, transaction_id, reservation_id, currency, available, reserved, processed_at_us"


@dataclass(frozen=True, slots=True)
class Entry:
    """The answer to a key: status 200, or 422 for a refusal, which moved no money. Balances are those of that time."""

    status: int
    body: bytes
    transaction_id: str
    reservation_id: str
    currency: str
    available: str
    reserved: str
    processed_at_us: int


class Ledger:
    """The ledger in one file. Methods block and may be called from any thread or process. All raise sqlite3.Error."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with closing(self._connect()) as db:
            db.execute("PRAGMA journal_mode = WAL")
            db.executescript(_SCHEMA)

    def move(self, move: Move) -> Entry:
        """Execute a move, or return the stored answer if its key is known. Raises: Undecided."""
        with self._transaction() as db:
            made = "SELECT player, currency, amount, order_id FROM moves WHERE (operation, idempotency_key) = (?, ?)"
            before = db.execute(made, (move.operation, move.idempotency_key)).fetchone()
            if before is None:
                self._apply(db, move)
            elif (*before[:2], Decimal(before[2]), before[3]) != (
                move.player,
                move.currency,
                move.amount,
                move.order_id,
            ):
                raise Undecided("the key belongs to a different move")
            return _only(_entries(db, move.idempotency_key, move.operation))

    def find(self, idempotency_key: str, operation: str = "") -> Entry | None:
        """Return the answer to a key, or None if it is unknown. Raises: Undecided if several operations have it."""
        with closing(self._connect()) as db:
            return _only(found) if (found := _entries(db, idempotency_key, operation)) else None

    def funds(self, player: str, currency: str) -> Funds | None:
        """Return a player's money, or None if there is no account."""
        with closing(self._connect()) as db:
            return _funds(db, player, currency)

    def deposit(self, player: str, currency: str, amount: Decimal) -> None:
        """Add money to an account; open it if needed. Phoenix is not involved."""
        with self._transaction() as db:
            held = _funds(db, player, currency) or Funds(available=Decimal(0), reserved=Decimal(0))
            _set_funds(db, player, currency, Funds(available=held.available + amount, reserved=held.reserved))

    def _apply(self, db: sqlite3.Connection, move: Move) -> None:
        of_order = (move.player, move.currency, move.order_id)
        found = "SELECT remaining, reservation_id FROM reservations WHERE (player, currency, order_id) = (?, ?, ?)"
        row = db.execute(found, of_order).fetchone()
        held = _funds(db, move.player, move.currency, Decimal(row[0]) if row else None)
        result = funds_after(move, held)
        transaction_id = reservation_id = ""
        if isinstance(result, str):
            funds = held or Funds(available=Decimal(0), reserved=Decimal(0))
            status, answer = 422, {"type": "about:blank", "title": "Refused", "status": 422, "code": result}
        else:
            funds, transaction_id = result, str(uuid.uuid4())
            _set_funds(db, move.player, move.currency, funds)
            if move.operation != "credit_cash":
                reservation_id = row[1] if row else str(uuid.uuid4())
                left = (*of_order, reservation_id, format(funds.of_order or Decimal(0), "f"))
                db.execute("REPLACE INTO reservations VALUES (?, ?, ?, ?, ?)", left)
            status, answer = 200, {"type": "SUCCESS", "status": "completed", "transaction_id": transaction_id}
        available, reserved = format(funds.available, "f"), format(funds.reserved, "f")
        answer |= {"currency_code": move.currency, "available": available, "reserved": reserved}
        content = (move.operation, move.idempotency_key, *of_order[:2], format(move.amount, "f"), move.order_id)
        made = (status, json.dumps(answer).encode(), transaction_id, reservation_id, available, reserved)
        values = (*content, *made, time.time_ns() // 1000)
        db.execute("INSERT INTO moves VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values)

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, isolation_level=None, timeout=2)  # wait at most 2 s for another writer
        db.execute("PRAGMA synchronous = FULL")  # an answered move survives a power failure
        return db

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Hold the ledger's write lock from the first read. Commit at the end, or change nothing after an error."""
        with closing(self._connect()) as db:  # closing without COMMIT rolls back
            db.execute("BEGIN IMMEDIATE")
            yield db
            db.execute("COMMIT")


def _funds(db: sqlite3.Connection, player: str, currency: str, of_order: Decimal | None = None) -> Funds | None:
    found = "SELECT available, reserved FROM accounts WHERE (player, currency) = (?, ?)"
    row = db.execute(found, (player, currency)).fetchone()
    return Funds(available=Decimal(row[0]), reserved=Decimal(row[1]), of_order=of_order) if row else None


def _set_funds(db: sqlite3.Connection, player: str, currency: str, funds: Funds) -> None:
    values = (player, currency, format(funds.available, "f"), format(funds.reserved, "f"))
    db.execute("REPLACE INTO accounts VALUES (?, ?, ?, ?)", values)


def _entries(db: sqlite3.Connection, key: str, operation: str) -> list[Entry]:
    found = f"SELECT {_ENTRY} FROM moves WHERE idempotency_key = ? AND ? IN ('', operation)"  # noqa: S608 - own names
    return [Entry(*row) for row in db.execute(found, (key, operation))]


def _only(found: list[Entry]) -> Entry:
    if len(found) != 1:
        raise Undecided("several operations have this key")
    return found[0]
