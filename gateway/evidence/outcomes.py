"""Record many outcomes of wallets in one transaction, and store refused outcomes as incidents.

It is repeatable: the same outcome is accepted again, and the same incident is stored once.
Source: prediction.md 5.5; API.md, RecordWalletOutcome.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa

from gateway.core.types import Environment, OperatorCode
from gateway.errors import GatewayError, OutcomeDiffers, PhoenixNotFound, StaleAttempt
from gateway.evidence.reading import NO_SUCH_OPERATION, evidence_of
from gateway.evidence.record import Balance, Evidence, IncidentReason, Outcome
from gateway.evidence.tables import incidents, operations
from gateway.store.pipeline import defer, now_us_of
from gateway.store.schema import insert_into, pad_in_list

_INCIDENT = (
    "operation_id",
    "reason",
    "attempt",
    "response_status",
    "response_body_sha256",
    "operator_transaction_id",
    "operator_reservation_id",
)
_REFUSALS: dict[IncidentReason, type[GatewayError]] = {
    IncidentReason.STALE_ATTEMPT: StaleAttempt,
    IncidentReason.OUTCOME_DIFFERS: OutcomeDiffers,
}
Owner = tuple[OperatorCode, Environment]
_Identity = tuple[int, str, str, str]
_t = operations.c


def record_all(
    connection: sa.Connection, outcomes: Sequence[Outcome], hash_only: Collection[Owner] = ()
) -> list[Evidence | GatewayError]:
    """Record all outcomes.

    Args: `hash_only`: owners whose response bodies are not stored.
    Returns: evidence or refusal of each, in the given order. Refusals are stored in the same transaction.
    """
    if not outcomes:
        return []
    rows = connection.execute(
        sa.select(
            *(_t.operation_id, _t.operator_code, _t.environment, _t.attempt, _t.response_status),
            *(_t.response_body_sha256, _t.operator_transaction_id, _t.operator_reservation_id),
        )
        .where(_t.operation_id.in_(pad_in_list(outcome.operation_id for outcome in outcomes)))
        .order_by(_t.operation_id)
        .with_for_update()
    )
    now_us = now_us_of(connection)
    attempts: dict[str, int] = {}
    owners: dict[str, Owner] = {}
    finished: dict[str, _Identity] = {}
    for row in rows:
        attempts[row.operation_id] = row.attempt
        owners[row.operation_id] = (OperatorCode(row.operator_code), Environment(row.environment))
        if row.response_status is not None:
            finished[row.operation_id] = (
                row.response_status,
                row.response_body_sha256,
                row.operator_transaction_id,
                row.operator_reservation_id,
            )
    accepted: list[Outcome] = []
    refused: dict[int, IncidentReason] = {}
    not_owned: set[int] = set()
    for index, outcome in enumerate(outcomes):
        attempt = attempts.get(outcome.operation_id)
        if (
            attempt is not None
            and outcome.operators is not None
            and owners[outcome.operation_id] not in outcome.operators
        ):
            not_owned.add(index)
            continue
        if attempt is None or finished.get(outcome.operation_id) == _identity(outcome):
            continue
        if outcome.attempt != attempt:
            refused[index] = IncidentReason.STALE_ATTEMPT
        elif outcome.operation_id in finished:
            refused[index] = IncidentReason.OUTCOME_DIFFERS
        else:  # also after the lease has expired, if no other attempt took the move over
            finished[outcome.operation_id] = _identity(outcome)
            accepted.append(outcome)
    if accepted:
        defer(
            connection,
            _UPDATE,
            [
                _values(outcome, now_us, keeps_body=owners[outcome.operation_id] not in hash_only)
                for outcome in accepted
            ],
        )
    if refused:
        kept = [_incident(outcomes[index], reason, now_us) for index, reason in refused.items()]
        kept.sort(key=lambda values: tuple(str(values[name]) for name in _INCIDENT))
        defer(connection, insert_into(connection, incidents).on_conflict_do_nothing(index_elements=_INCIDENT), kept)
    evidence = evidence_of(connection, [outcome.operation_id for outcome in outcomes])
    results: list[Evidence | GatewayError] = []
    for index, outcome in enumerate(outcomes):
        if index in refused:
            results.append(_REFUSALS[refused[index]]())
        elif index in not_owned:
            results.append(PhoenixNotFound(NO_SUCH_OPERATION))
        else:
            results.append(evidence.get(outcome.operation_id) or PhoenixNotFound(NO_SUCH_OPERATION))
    return results


def _identity(outcome: Outcome) -> _Identity:
    """Return the values that make two outcomes the same. Balances and times are not compared."""
    return (
        outcome.status,
        outcome.body_sha256,
        outcome.operator_transaction_id,
        outcome.operator_reservation_id,
    )


_UPDATE = (
    sa.update(operations)
    .where(_t.operation_id == sa.bindparam("of"))
    .values(
        {
            name: sa.bindparam(f"new_{name}")
            for name in (
                "response_status",
                "response_body",
                "response_body_sha256",
                "recorded_at_us",
                "operator_transaction_id",
                "operator_reservation_id",
                "available_amount",
                "available_currency",
                "reserved_amount",
                "reserved_currency",
                "processed_at_us",
            )
        }
    )
)


def _values(outcome: Outcome, now_us: int, *, keeps_body: bool) -> dict[str, Any]:
    available_amount, available_currency = _parts(outcome.available)
    reserved_amount, reserved_currency = _parts(outcome.reserved)
    return {
        "of": outcome.operation_id,
        "new_response_status": outcome.status,
        "new_response_body": outcome.body if keeps_body else None,
        "new_response_body_sha256": outcome.body_sha256,
        "new_recorded_at_us": now_us,
        "new_operator_transaction_id": outcome.operator_transaction_id,
        "new_operator_reservation_id": outcome.operator_reservation_id,
        "new_available_amount": available_amount,
        "new_available_currency": available_currency,
        "new_reserved_amount": reserved_amount,
        "new_reserved_currency": reserved_currency,
        "new_processed_at_us": outcome.processed_at_us,
    }


def _parts(balance: Balance | None) -> tuple[str | None, str | None]:
    return (None, None) if balance is None else (balance.amount, balance.currency)


def _incident(outcome: Outcome, reason: IncidentReason, now_us: int) -> dict[str, Any]:
    return {
        "operation_id": outcome.operation_id,
        "reason": reason.value,
        "attempt": outcome.attempt,
        "response_status": outcome.status,
        "response_body_sha256": outcome.body_sha256,
        "operator_transaction_id": outcome.operator_transaction_id,
        "operator_reservation_id": outcome.operator_reservation_id,
        "received_at_us": now_us,
    }
