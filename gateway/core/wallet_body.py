"""Reads the signed body of a wallet webhook: route, operation, members, content.

What is inferred about the body's members is named in WalletAdapter. This is called only after the
signature held. Certain: the body is no JSON object, a move has no key, the body names another
operator or environment. Everything else that cannot be read is UNREADABLE_OPERATION, which is no
final refusal. Source: prediction.md 4.1, 4.4, 4.9 and 5.1 steps 8 and 9.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from gateway.core.encoding import sha256_hex
from gateway.core.json_text import DoubtfulJson, Json, NotJsonObject, canonical_text, read_object, same_value
from gateway.core.types import Environment, HexStr, is_plain_text
from gateway.core.wallet_adapter import WalletAdapter
from gateway.core.wallet_amount import CURRENCY_MEMBERS, read_amount
from gateway.core.wallet_verdict import Refusal, Verdict

MAX_KEY_BYTES = 1024
_MAX_REASON_CHARACTERS = 256
_MAX_PLAYER_CHARACTERS = 256
_MAX_CURRENCY_CHARACTERS = 32


class OperationKind(enum.Enum):
    """What a call is for."""

    MOVE = "MOVE"
    PROBE = "PROBE"
    BALANCE = "BALANCE"


MOVES = frozenset({"reserve_cash", "capture_cash", "release_cash", "credit_cash"})

HOLDABLE = MOVES - {"capture_cash"}
"""What may be held as a suspect replay. A capture never: two equal partial captures of an order are two calls with the
same body."""

# The route is not signed, the operation is: they hold only together. Longer suffixes first.
_ROUTES: tuple[tuple[str, OperationKind, frozenset[str]], ...] = (
    ("/wallet/transactions/status", OperationKind.PROBE, frozenset({"transaction_status"})),
    ("/wallet/transactions", OperationKind.MOVE, MOVES),
    ("/wallet/balance", OperationKind.BALANCE, frozenset({"balance"})),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveContent:
    """What makes two calls the same move. `amount` None: its form is not understood."""

    operation: str
    player_id: str
    currency: str
    amount: Decimal | None
    amount_json: str
    references_json: str
    body_sha256: HexStr


class Operation(NamedTuple):
    """A signed body, read. Texts are "" where the body has no such member."""

    operation: str
    kind: OperationKind
    idempotency_key: str | None
    """Set for moves and probes; None for a balance."""
    player_id: str
    currency: str
    amount: Decimal | None
    amount_json: str
    references_json: str
    reason: str
    original_operation: str | None
    """For a probe: the original's operation, where the body names it."""
    body_sha256: HexStr

    def content(self) -> MoveContent:
        """Return what `same_move` compares."""
        return MoveContent(
            operation=self.operation,
            player_id=self.player_id,
            currency=self.currency,
            amount=self.amount,
            amount_json=self.amount_json,
            references_json=self.references_json,
            body_sha256=self.body_sha256,
        )


def same_move(stored: MoveContent, new: MoveContent) -> bool:
    """Tell whether two calls with one key ask for the same move.

    Equal body hashes are the same. Otherwise operation, player, currency, amount and references
    decide, and only a real difference counts: not order, spacing or the spelling of a number.
    """
    if stored.body_sha256 == new.body_sha256:
        return True
    if (stored.operation, stored.player_id, stored.currency) != (new.operation, new.player_id, new.currency):
        return False
    if stored.amount is not None and new.amount is not None:
        same_amount = stored.amount == new.amount
    else:
        same_amount = _same_json(stored.amount_json, new.amount_json)
    return same_amount and _same_json(stored.references_json, new.references_json)


def parse_operation(
    method: str,
    path: str,
    body: bytes,
    header_key: str | None,
    adapter: WalletAdapter,
    expected_operator_id: str | None,
    environment: Environment,
) -> Operation | Refusal:
    """Read a body whose signature held.

    Args: `path` as received, any prefix, a query is ignored; `header_key` the `idempotency-key`
    header, None when there is none; `expected_operator_id` None: not checked.
    Returns: the operation, or the refusal; never raises for what the call holds.
    """
    try:
        return _parse(method, path, body, header_key, adapter, expected_operator_id, environment)
    except NotJsonObject as fault:
        return Refusal(verdict=Verdict.MALFORMED_BODY, why=str(fault))
    except DoubtfulJson as fault:
        return _unreadable(str(fault))
    except _Doubt as doubt:
        return _unreadable(str(doubt))


class _Doubt(Exception):
    """The body cannot be interpreted; the text is fixed and quotes nothing."""


def _unreadable(why: str) -> Refusal:
    return Refusal(verdict=Verdict.UNREADABLE_OPERATION, why=why)


def _parse(
    method: str,
    path: str,
    body: bytes,
    header_key: str | None,
    adapter: WalletAdapter,
    expected_operator_id: str | None,
    environment: Environment,
) -> Operation | Refusal:
    # 1. The route; what is sent elsewhere may not even be for the wallet.
    kind, allowed = _route(method, path)
    # 2. The body, as one JSON object of one meaning.
    members = read_object(body)
    # 3. Whom it is for: one platform key signs for all operators and both environments.
    misdirected = _misdirected(members, adapter, expected_operator_id, environment)
    if misdirected is not None:
        return misdirected
    # 4. The operation, which must belong to the route.
    operation = members.get("operation")
    if not isinstance(operation, str) or operation not in allowed:
        raise _Doubt("an operation that is unknown or not of this route")
    # 5. The key.
    key: str | None = None
    if kind is not OperationKind.BALANCE:
        found = _key(members, adapter, header_key, kind)
        if isinstance(found, Refusal):
            return found
        key = found
    # 6. The members; a move needs its player, currency and amount.
    is_move = kind is OperationKind.MOVE
    currency = _text(members, adapter.currency, _MAX_CURRENCY_CHARACTERS, needed=is_move)
    amount, amount_json = _amount(members, adapter, currency, needed=is_move)
    references = _at(members, adapter.references)
    reason = _at(members, adapter.reason)
    return Operation(
        operation=operation,
        kind=kind,
        idempotency_key=key,
        player_id=_text(members, adapter.player, _MAX_PLAYER_CHARACTERS, needed=is_move),
        currency=currency,
        amount=amount,
        amount_json=amount_json,
        references_json="" if references is None else canonical_text(references),
        reason=reason[:_MAX_REASON_CHARACTERS] if isinstance(reason, str) else "",
        original_operation=_original(members, adapter) if kind is OperationKind.PROBE else None,
        body_sha256=sha256_hex(body),
    )


def _route(method: str, path: str) -> tuple[OperationKind, frozenset[str]]:
    if method not in ("POST", "post"):
        raise _Doubt("a method other than POST")
    route = path.partition("?")[0]
    for suffix, kind, allowed in _ROUTES:
        if route.endswith(suffix):
            return kind, allowed
    raise _Doubt("an unknown path")


def _misdirected(
    members: dict[str, Json], adapter: WalletAdapter, expected_operator_id: str | None, environment: Environment
) -> Refusal | None:
    """Return the refusal where the body names another addressee. A member that is absent names nobody."""
    named = _at(members, adapter.environment)
    if named is not None and named != environment.value:
        if named not in ("sandbox", "prod"):
            raise _Doubt("an environment of an unknown value")
        return Refusal(verdict=Verdict.WRONG_ENVIRONMENT, why="the body names the other environment")
    operator = _at(members, adapter.operator_id)
    if operator is None or expected_operator_id is None or operator == expected_operator_id:
        return None
    if not isinstance(operator, str) or not operator.strip():
        raise _Doubt("an operator id that is no text")
    if operator.strip().casefold() == expected_operator_id.strip().casefold():
        # Perhaps ours, spelt otherwise in the settings: no ground for a final refusal.
        raise _Doubt("an operator id that differs in spelling only")
    return Refusal(verdict=Verdict.WRONG_OPERATOR, why="the body names another operator")


def _key(
    members: dict[str, Json], adapter: WalletAdapter, header_key: str | None, kind: OperationKind
) -> str | Refusal:
    repeated = _at(members, adapter.idempotency_key)
    if repeated is not None and not isinstance(repeated, str):
        raise _Doubt("an idempotency key in the body that is no text")
    if header_key is None and (kind is OperationKind.MOVE or repeated is None or repeated == ""):
        return Refusal(verdict=Verdict.MISSING_IDEMPOTENCY_KEY, why="no idempotency key")
    if header_key is not None and repeated is not None and header_key != repeated:
        raise _Doubt("an idempotency key in the header that is not the signed one")
    if header_key is not None and repeated is None and "," in header_key:
        # Perhaps two headers joined on the way; with another key the move could be made twice.
        raise _Doubt("an idempotency key that may be several")
    key = header_key if header_key is not None else repeated
    if key is None or not is_plain_text(key, MAX_KEY_BYTES) or len(key.encode("utf-8")) > MAX_KEY_BYTES:
        raise _Doubt("an idempotency key too long, or with control characters")
    return key


def _amount(
    members: dict[str, Json], adapter: WalletAdapter, currency: str, *, needed: bool
) -> tuple[Decimal | None, str]:
    form = _at(members, adapter.amount)
    if adapter.amount_is_text and isinstance(form, str):
        form = {adapter.amount_names.value[0]: form}
    if not needed:
        # Nothing moves by it: kept as it is.
        amount = _read(form, adapter, currency) if isinstance(form, dict) else None
        return amount, "" if form is None else canonical_text(form)
    if not isinstance(form, dict) or not form:
        raise _Doubt("an amount that is missing or no object")
    for name in CURRENCY_MEMBERS:
        if form.get(name) is not None and form[name] != currency:
            raise _Doubt("an amount in another currency than the body's")
    amount = _read(form, adapter, currency)
    if amount is not None and amount < 0:
        raise _Doubt("an amount below zero")
    return amount, canonical_text(form)


def _read(form: dict[str, Json], adapter: WalletAdapter, currency: str) -> Decimal | None:
    return read_amount(form, adapter.amount_names, adapter.currency_scales.get(currency))


def _original(members: dict[str, Json], adapter: WalletAdapter) -> str | None:
    named = {held for path in adapter.original_operation if (held := _as_text(_at(members, path))) is not None}
    if not named:
        return None
    if len(named) > 1 or not named <= MOVES:
        raise _Doubt("an original operation that is unknown, or several")
    return named.pop()


def _as_text(held: Json) -> str | None:
    if held is not None and not isinstance(held, str):
        raise _Doubt("a name that is no text")
    return held


def _text(members: dict[str, Json], path: str, max_characters: int, *, needed: bool) -> str:
    held = _at(members, path)
    if held is None and not needed:
        return ""
    if not isinstance(held, str) or not is_plain_text(held, max_characters):
        raise _Doubt("a player or currency that is missing or no plain text")
    return held


def _at(members: dict[str, Json], path: str) -> Json:
    """Return what `path` leads to; None where it leads nowhere or to null."""
    if "." not in path:
        return members.get(path)
    held: Json = members
    for name in path.split("."):
        if held is None:
            return None
        if not isinstance(held, dict):
            raise _Doubt("a value where an object was expected")
        held = held.get(name)
    return held


def _same_json(stored: str, new: str) -> bool:
    return stored == new or (stored != "" and new != "" and same_value(stored, new))
