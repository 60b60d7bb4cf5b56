"""Find what a person settled for unreadable webhooks: Phoenix is answered that, and no wallet makes the move."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from gateway.core.encoding import sha256_hex
from gateway.evidence.record import MoveClaim, RecordedResponse
from gateway.evidence.tables import unreadable
from gateway.store.schema import pad_in_list

_t = unreadable.c
CallKey = tuple[str, str, str, str]
"""Body hash, operator, environment, idempotency key: the unique constraint of unreadable webhooks."""
CALL_COLUMNS = ("body_sha256", "operator_code", "environment", "idempotency_key")
RESPONSE_COLUMNS = (_t.response_status, _t.response_body, _t.settled_at_us)
_SETTLED = sa.select(*(_t[name] for name in CALL_COLUMNS), *RESPONSE_COLUMNS).where(
    _t.body_sha256.in_(sa.bindparam("bodies", expanding=True)),
    _t.idempotency_key.in_(sa.bindparam("keys", expanding=True)),
    _t.response_status.is_not(None),
)


def call_key(claim: MoveClaim) -> CallKey:
    """Return under which key an unreadable webhook with this body was kept."""
    return (claim.content.body_sha256, claim.operator_code, claim.environment.value, claim.idempotency_key)


def is_settled(key: sa.Column[str], operator: sa.Column[str], environment: sa.Column[str]) -> sa.Exists:
    """Tell in SQL whether a person settled any call with this key."""
    return sa.exists().where(
        _t.idempotency_key == key,
        _t.operator_code == operator,
        _t.environment == environment,
        _t.response_status.is_not(None),
    )


def settlements_of(connection: sa.Connection, calls: Iterable[CallKey]) -> dict[CallKey, RecordedResponse]:
    """Return the answers to those of these calls that a person settled."""
    wanted = set(calls)
    if not wanted:
        return {}
    found: dict[CallKey, RecordedResponse] = {}
    parameters = {"bodies": pad_in_list(call[0] for call in wanted), "keys": pad_in_list(call[3] for call in wanted)}
    for row in connection.execute(_SETTLED, parameters):
        call = (row.body_sha256, row.operator_code, row.environment, row.idempotency_key)
        response = settled_response(row)
        if call in wanted and response is not None:
            found[call] = response
    return found


def settled_response(row: sa.Row[*tuple[Any, ...]]) -> RecordedResponse | None:
    """Return what Phoenix is answered, from a row with its columns; None while nobody has settled it."""
    if row.response_status is None:
        return None
    body = bytes(row.response_body)
    return RecordedResponse(
        status=row.response_status, body_sha256=sha256_hex(body), body=body, recorded_at_us=row.settled_at_us
    )
