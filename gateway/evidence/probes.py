"""Answer status probes in one transaction, and record that they arrived. A probe claims nothing.

The transaction must be exclusive (`Database.write`), so that no claim happens between the read and the record.
Source: prediction.md 4.9.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from gateway.core.wallet_verdict import OriginalState
from gateway.evidence.record import Probe, ProbeResult
from gateway.evidence.rows import recorded_of
from gateway.evidence.tables import operations, probes
from gateway.store.pipeline import defer
from gateway.store.schema import insert_into, pad_in_list

_PROBE = ("idempotency_key", "operator_code", "environment", "original_operation")
_t = operations.c


def probe_all(connection: sa.Connection, asked: Sequence[Probe]) -> list[ProbeResult]:
    """Record and answer all probes. Returns: one result per probe, in the given order."""
    if not asked:
        return []
    rows = [
        {
            "idempotency_key": probe.idempotency_key,
            "operator_code": probe.operator_code,
            "environment": probe.environment.value,
            "original_operation": probe.original_operation or "",
            "first_probed_at_us": probe.received_at_us,
            "last_probed_at_us": probe.received_at_us,
            "probe_count": 1,
        }
        for probe in asked
    ]
    rows.sort(key=lambda row: tuple(str(row[name]) for name in _PROBE))  # one order everywhere: no deadlock
    insert = insert_into(connection, probes)
    defer(
        connection,
        insert.on_conflict_do_update(
            index_elements=_PROBE,
            set_={
                "last_probed_at_us": insert.excluded.last_probed_at_us,
                "probe_count": probes.c.probe_count + 1,
            },
        ),
        rows,
    )
    moves: dict[tuple[str, str, str], list[sa.Row[*tuple[Any, ...]]]] = defaultdict(list)
    for row in connection.execute(
        sa.select(
            *(_t.operation_id, _t.operator_code, _t.environment, _t.operation, _t.idempotency_key),
            *(_t.response_status, _t.response_body_sha256, _t.response_body, _t.recorded_at_us),
        ).where(_t.idempotency_key.in_(pad_in_list(probe.idempotency_key for probe in asked)))
    ):
        moves[row.operator_code, row.environment, row.idempotency_key].append(row)
    return [
        _answer(probe, moves[probe.operator_code, probe.environment.value, probe.idempotency_key]) for probe in asked
    ]


def _answer(probe: Probe, moves: list[sa.Row[*tuple[Any, ...]]]) -> ProbeResult:
    if not moves:
        return ProbeResult(state=OriginalState.NOT_SEEN, operation_id="", recorded=None)
    if probe.original_operation is not None:
        # If no move with this key has the name, we may have misread the body. NOT_SEEN could make Phoenix repeat a
        # move that was made.
        moves = [row for row in moves if row.operation == probe.original_operation]
    if len(moves) != 1:
        return ProbeResult(state=OriginalState.AMBIGUOUS, operation_id="", recorded=None)
    recorded = recorded_of(moves[0])
    return ProbeResult(
        state=OriginalState.IN_PROGRESS if recorded is None else OriginalState.FINISHED,
        operation_id=moves[0].operation_id,
        recorded=recorded,
    )
