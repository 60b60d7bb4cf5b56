"""The exact format of an export: each member once, in a fixed order and in canonical form, and never empty.

A record in any other form was not written by an export. Pure.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

Check = Callable[[Any], bool]
Form = dict[str, tuple[int, Check]]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_TIME = re.compile(r"\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):\d\d:\d\d(?:\.\d{3}|\.\d{6})?Z", re.ASCII)


def to_microseconds(text: str) -> int:
    """Return a time of an export in microseconds. Raises: ValueError if it is not in canonical form."""
    if _TIME.fullmatch(text) is None:  # fromisoformat accepts other forms too
        raise ValueError("no time")
    at = (datetime.fromisoformat(text) - _EPOCH) // _MICROSECOND
    digits = 27 if at % 1000 else 24 if at % 1_000_000 else 20
    if digits != len(text):
        raise ValueError("no time")
    return at


def first_invalid_member(members: dict[str, Any], form: Form) -> str | None:
    """Return the name of the first invalid member, or None if all are valid."""
    last = -1
    for name, value in members.items():
        rule = form.get(name)
        if rule is None or rule[0] <= last or not rule[1](value):
            return name
        last = rule[0]
    return None


def _text(value: Any) -> bool:
    return type(value) is str and value != ""


def _number(value: Any) -> bool:
    return type(value) is int and value != 0


def _long(value: Any) -> bool:
    return type(value) is str and value != "0" and str(int(value)) == value


def _yes(value: Any) -> bool:
    return value is True


def _time(value: Any) -> bool:
    return type(value) is str and to_microseconds(value) is not None


def _bytes(value: Any) -> bool:
    return value != "" and _any_bytes(value)


def _any_bytes(value: Any) -> bool:
    return type(value) is str and b64encode(b64decode(value, validate=True)).decode() == value


def _form(**checks: Check) -> Form:
    return {name: (position, check) for position, (name, check) in enumerate(checks.items())}


def _message(form: Form) -> Check:
    return lambda value: type(value) is dict and first_invalid_member(value, form) is None


def _list(form: Form) -> Check:
    return lambda value: type(value) is list and value != [] and all(map(_message(form), value))


_MONEY = _form(amount=_text, currency_code=_text)
_OPERATION = _form(
    operation=_text,
    idempotency_key=_text,
    player_id=_text,
    amount=_message(_MONEY),
    amount_json=_text,
    references_json=_text,
    reason=_text,
    currency_code=_text,
)
_RESPONSE = _form(status=_number, body_sha256=_text, body=_any_bytes, record_time=_time)
_INCIDENT = _form(
    reason=_text,
    receive_time=_time,
    attempt=_number,
    response_status=_number,
    response_body_sha256=_text,
    operator_transaction_id=_text,
)
_CONFLICT = _form(
    receive_time=_time,
    count=_long,
    request_body_sha256=_text,
    request_body=_bytes,
    signature=_text,
    key_id=_text,
    first_request_id=_text,
)
RECORD = _form(
    operation_id=_text,
    operator_code=_text,
    environment=_text,
    state=_text,
    operation=_message(_OPERATION),
    attempt=_number,
    lease_expire_time=_time,
    receive_time=_time,
    request_body=_bytes,
    request_body_sha256=_text,
    signature=_text,
    key_id=_text,
    first_request_id=_text,
    suspect_replay=_yes,
    probed_before=_yes,
    response=_message(_RESPONSE),
    operator_transaction_id=_text,
    operator_reservation_id=_text,
    available_balance=_message(_MONEY),
    reserved_balance=_message(_MONEY),
    process_time=_time,
    incidents=_list(_INCIDENT),
    replay_count=_long,
    conflicts=_list(_CONFLICT),
)
EXTENT = _form(operator_code=_text, environment=_text, start_time=_time, end_time=_time, as_of=_long)
KEY = _form(key_id=_text, public_key=_bytes)
BLOCK = _form(
    number=_long,
    previous_hash=_text,
    hash=_text,
    chain_time=_time,
    first_sequence=_long,
    entry_count=_number,
    oldest_receive_time=_time,
    newest_receive_time=_time,
    entries_sha256=_text,
    key_id=_text,
    signature=_text,
    entries=_text,
)
