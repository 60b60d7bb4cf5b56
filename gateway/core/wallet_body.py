"""Parse the signed body of a wallet webhook: addressee, operation, idempotency key, members.

Call it only after the signature is verified. WalletAdapter names the members, which Phoenix does not publish. Final
refusals are certain: the body is not a JSON object, a move has no key, the body names another operator or environment.
Everything else that cannot be read is UNREADABLE_OPERATION, which is not final. Only members that decide can make a
body unreadable; whatever the others hold is kept as it came.
Source: prediction.md 4.1, 4.4, 4.9 and 5.1 steps 8 and 9.
"""

from __future__ import annotations

import re
from decimal import Decimal

from gateway.core.encoding import sha256_hex
from gateway.core.json_text import (
    AmbiguousObject,
    DoubtfulJson,
    Json,
    NotJsonObject,
    canonical_text,
    check_certain,
    check_unambiguous,
    read_tolerantly,
)
from gateway.core.types import Environment, is_plain_text
from gateway.core.wallet_adapter import WalletAdapter
from gateway.core.wallet_amount import CURRENCY_MEMBERS, read_amount
from gateway.core.wallet_headers import IdempotencyKey
from gateway.core.wallet_operation import MOVES, Operation, OperationKind
from gateway.core.wallet_verdict import Refusal, Verdict

MAX_KEY_BYTES = 1024
_MAX_REASON_CHARACTERS = 256
_MAX_PLAYER_CHARACTERS = 256
_MAX_CURRENCY_CHARACTERS = 32


# The operation is signed but the route is not, so the two must agree.
_ALLOWED: dict[OperationKind, frozenset[str]] = {
    OperationKind.PROBE: frozenset({"transaction_status"}),
    OperationKind.MOVE: MOVES,
    OperationKind.BALANCE: frozenset({"balance"}),
}
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def parse_operation(
    route: OperationKind | None,
    body: bytes,
    header_key: IdempotencyKey | None,
    adapter: WalletAdapter,
    expected_operator_id: str | None,
    environment: Environment,
) -> Operation | Refusal:
    """Parse a body whose signature is verified.

    Args: `route`: what `find_route` found; `header_key`: the `idempotency-key` header, or None;
    `expected_operator_id` None: not checked.
    Returns: the operation, or the refusal. It never raises for the content of a call.
    """
    try:
        return _parse(route, body, header_key, adapter, expected_operator_id, environment)
    except NotJsonObject as fault:
        return Refusal(verdict=Verdict.MALFORMED_BODY, why=str(fault))
    except DoubtfulJson as fault:
        return _unreadable(str(fault))
    except _Unreadable as fault:
        return _unreadable(str(fault))


class _Unreadable(Exception):
    """The body cannot be interpreted. The message is fixed and quotes nothing."""


def _unreadable(why: str) -> Refusal:
    return Refusal(verdict=Verdict.UNREADABLE_OPERATION, why=why)


def _parse(
    route: OperationKind | None,
    body: bytes,
    header_key: IdempotencyKey | None,
    adapter: WalletAdapter,
    expected_operator_id: str | None,
    environment: Environment,
) -> Operation | Refusal:
    # 1. The route. A call to another path may not be for the wallet.
    if route is None:
        raise _Unreadable("an unknown path, or a method other than POST")
    # 2. The body: one JSON object.
    members = read_tolerantly(body)
    # 3. The addressee: one platform key signs for all operators and both environments.
    misdirected = _misdirected(members, adapter, expected_operator_id, environment)
    if misdirected is not None:
        return misdirected
    # 4. The operation, which must belong to the route.
    operation = _at(members, "operation")
    if not isinstance(operation, str) or operation not in _ALLOWED[route]:
        raise _Unreadable("an operation that is unknown or not of this route")
    # 5. The key.
    key: str | None = None
    if route is not OperationKind.BALANCE:
        found = _key(members, adapter, header_key, route)
        if isinstance(found, Refusal):
            return found
        key = found
    # 6. The members. A move needs its player, currency and amount.
    is_move = route is OperationKind.MOVE
    currency = _text(members, adapter.currency, _MAX_CURRENCY_CHARACTERS, needed=is_move)
    amount, amount_json = _amount(members, adapter, currency, needed=is_move)
    references = _at(members, adapter.references)
    check_unambiguous(references)
    reason = _at(members, adapter.reason, decides=False)
    return Operation(
        operation=operation,
        kind=route,
        idempotency_key=key,
        player_id=_text(members, adapter.player, _MAX_PLAYER_CHARACTERS, needed=is_move),
        currency=currency,
        amount=amount,
        amount_json=amount_json,
        references_json="" if references is None else canonical_text(references),
        reason=_label(reason),
        original_operation=_original(members, adapter) if route is OperationKind.PROBE else None,
        body_sha256=sha256_hex(body),
    )


def _misdirected(
    members: dict[str, Json], adapter: WalletAdapter, expected_operator_id: str | None, environment: Environment
) -> Refusal | None:
    """Return the refusal if the body names another operator or environment. An absent member names none."""
    named = _at(members, adapter.environment)
    if named is not None and named != environment.value:
        if named not in ("sandbox", "prod"):
            raise _Unreadable("an environment of an unknown value")
        return Refusal(verdict=Verdict.WRONG_ENVIRONMENT, why="the body names the other environment")
    operator = _at(members, adapter.operator_id)
    if operator is None or expected_operator_id is None or operator == expected_operator_id:
        return None
    if not isinstance(operator, str) or not operator.strip():
        raise _Unreadable("an operator id that is not text")
    if operator.strip().casefold() == expected_operator_id.strip().casefold():
        # It may be ours, with another spelling in the settings: no reason for a final refusal.
        raise _Unreadable("an operator id that differs in spelling only")
    return Refusal(verdict=Verdict.WRONG_OPERATOR, why="the body names another operator")


def _key(
    members: dict[str, Json], adapter: WalletAdapter, header: IdempotencyKey | None, kind: OperationKind
) -> str | Refusal:
    repeated = _at(members, adapter.idempotency_key)
    if repeated is not None and not isinstance(repeated, str):
        raise _Unreadable("an idempotency key in the body that is not text")
    if header is None and (kind is OperationKind.MOVE or repeated is None or repeated == ""):
        return Refusal(verdict=Verdict.MISSING_IDEMPOTENCY_KEY, why="no idempotency key")
    if header is None or header.line == repeated:
        key = repeated  # the signed body proves that a comma belongs to the key
    elif header.value is None:
        # A proxy may have joined two headers. With a wrong key the move could be made twice.
        return Refusal(verdict=Verdict.AMBIGUOUS_HEADERS, why="an idempotency key that may be several")
    elif repeated is not None and header.value != repeated:
        raise _Unreadable("an idempotency key in the header that is not the signed one")
    else:
        key = header.value
    if key is None or not is_plain_text(key, MAX_KEY_BYTES) or len(key.encode("utf-8")) > MAX_KEY_BYTES:
        raise _Unreadable("an idempotency key too long, or with control characters")
    return key


def _amount(
    members: dict[str, Json], adapter: WalletAdapter, currency: str, *, needed: bool
) -> tuple[Decimal | None, str]:
    form = _at(members, adapter.amount)
    if adapter.amount_is_text and isinstance(form, str):
        form = {adapter.amount_names.value[0]: form}
    if not needed:
        # No money moves, so the amount is stored without checks of its numbers and texts.
        check_unambiguous(form)
        amount = _read(form, adapter, currency) if isinstance(form, dict) else None
        return amount, "" if form is None else canonical_text(form)
    if not isinstance(form, dict) or not form:
        raise _Unreadable("an amount that is missing or not an object")
    for name in CURRENCY_MEMBERS:
        if form.get(name) is not None and form[name] != currency:
            raise _Unreadable("an amount in a currency other than the body's")
    check_certain(form)
    amount = _read(form, adapter, currency)
    if amount is not None and amount < 0:
        raise _Unreadable("an amount below zero")
    return amount, canonical_text(form)


def _read(form: dict[str, Json], adapter: WalletAdapter, currency: str) -> Decimal | None:
    return read_amount(form, adapter.amount_names, adapter.currency_scales.get(currency))


def _original(members: dict[str, Json], adapter: WalletAdapter) -> str | None:
    named = {held for path in adapter.original_operation if (held := _as_text(_at(members, path))) is not None}
    if not named:
        return None
    if len(named) > 1 or not named <= MOVES:
        raise _Unreadable("an original operation that is unknown, or several")
    return named.pop()


def _as_text(held: Json) -> str | None:
    if held is not None and not isinstance(held, str):
        raise _Unreadable("a name that is not text")
    return held


def _text(members: dict[str, Json], path: str, max_characters: int, *, needed: bool) -> str:
    held = _at(members, path)
    if held is None and not needed:
        return ""
    if not isinstance(held, str) or not is_plain_text(held, max_characters):
        raise _Unreadable("a player or currency that is missing or not plain text")
    return held


def _label(held: Json) -> str:
    """Return a free label in a form that the store can hold."""
    return _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", held[:_MAX_REASON_CHARACTERS]) if isinstance(held, str) else ""


def _at(members: dict[str, Json], path: str, *, decides: bool = True) -> Json:
    """Return the value at `path`; None if there is no value, or if it is null.

    A value that decides must be certain: not given twice, and no text with NUL or a lone surrogate.
    """
    held: Json = members
    for name in path.split("."):
        if held is None:
            return None
        if not isinstance(held, dict):
            if not decides:
                return None
            raise _Unreadable("a value where an object was expected")
        if decides and isinstance(held, AmbiguousObject) and name in held.repeated:
            raise _Unreadable("a member that decides, twice")
        held = held.get(name)
    if decides and isinstance(held, str):
        check_certain(held)
    return held
