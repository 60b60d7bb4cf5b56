"""Record the outcome of a wallet, and return the evidence of a money move."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.actions.shared.call import Call
from gateway.actions.shared.call_record import WalletRecord
from gateway.actions.shared.contexts import OperatorContext
from gateway.actions.shared.directory import OperatorDirectory
from gateway.core.encoding import sha256_hex
from gateway.core.types import Environment, HexStr, OperatorCode
from gateway.errors import FieldFault, InvalidField, PhoenixNotFound
from gateway.evidence.record import Balance, Evidence, Outcome
from gateway.evidence.store import WalletStore


@dataclass(frozen=True, slots=True, kw_only=True)
class NewOutcome:
    """What a wallet did and answered. Exactly one of `body` and `body_sha256` is set. Time in microseconds.

    `operator_code` "", `environment` None: those of the operation.
    """

    operator_code: str = ""
    environment: Environment | None = None
    operation_id: str
    attempt: int
    status: int
    body: bytes | None = field(repr=False)
    body_sha256: str | None
    operator_transaction_id: str
    operator_reservation_id: str
    available: Balance | None
    reserved: Balance | None
    processed_at_us: int | None
    final: bool = False
    """Record the status even if it is a passing failure."""


_PASSING = frozenset({*range(100, 200), 408, 409, 425, 429, *range(500, 600)})
"""Statuses that say "not now". As a recorded outcome, such an answer would be repeated for ever."""

_NOT_FINAL = (
    "is a passing failure (1xx, 408, 409, 425, 429, 5xx), and a recorded answer is repeated for ever; do not record "
    "it: the move is then RECLAIMED by a retry when its lease has ended"
)


def check_final(status: int) -> None:
    """Refuse a passing failure. Raises: InvalidField."""
    if status in _PASSING:
        raise InvalidField([FieldFault(field="response_status", description=_NOT_FINAL)])


class RecordWalletOutcomes:
    """The actions behind RecordWalletOutcome and GetWalletEvidence."""

    def __init__(self, operators: OperatorDirectory[OperatorContext], store: WalletStore) -> None:
        self._operators = operators
        self._store = store

    async def record(self, outcome: NewOutcome, call: Call) -> Evidence:
        """Store an outcome and return the present evidence.

        Raises: InvalidField for a passing failure that is not `final`; OperatorUnknown; PhoenixNotFound, also for an
        operation of another operator than the named one; StaleAttempt, OutcomeDiffers, StoreUnavailable.
        """
        if not outcome.final:
            check_final(outcome.status)
        call.record.wallet = WalletRecord(operation_id=outcome.operation_id, attempt=outcome.attempt)
        body_sha256 = sha256_hex(outcome.body) if outcome.body is not None else HexStr(outcome.body_sha256 or "")
        evidence = await self._store.record_outcome(
            Outcome(
                operation_id=outcome.operation_id,
                attempt=outcome.attempt,
                status=outcome.status,
                body=outcome.body,
                body_sha256=body_sha256,
                operator_transaction_id=outcome.operator_transaction_id,
                operator_reservation_id=outcome.operator_reservation_id,
                available=outcome.available,
                reserved=outcome.reserved,
                processed_at_us=outcome.processed_at_us,
                operators=self._operators_of(outcome, call),
            ),
            call.deadline,
        )
        call.record.operator = evidence.operator_code
        call.record.environment = evidence.environment.value
        return evidence

    def _operators_of(self, outcome: NewOutcome, call: Call) -> frozenset[tuple[OperatorCode, Environment]] | None:
        """Return the allowed owners of the operation: the named operator, or all operators of the caller."""
        if not outcome.operator_code and outcome.environment is None:
            return call.grant.operators
        context = self._operators.resolve(outcome.operator_code, outcome.environment, call)
        return frozenset({(context.operator_code, context.environment)})

    async def get(
        self,
        *,
        operator_code: str,
        environment: Environment | None,
        operation_id: str,
        operation: str,
        idempotency_key: str,
        call: Call,
    ) -> Evidence:
        """Return the evidence of one operation, by its id if given, otherwise by operation and key.

        Raises: OperatorUnknown; PhoenixNotFound, also for an operation of another operator; StoreUnavailable.
        """
        context = self._operators.resolve(operator_code, environment, call)
        if not operation_id:
            return await self._store.evidence_by_key(
                context.operator_code, context.environment, operation, idempotency_key, call.deadline
            )
        call.record.wallet = WalletRecord(operation_id=operation_id)
        evidence = await self._store.evidence_by_id(operation_id, call.deadline)
        if (evidence.operator_code, evidence.environment) != (context.operator_code, context.environment):
            raise PhoenixNotFound("This operator environment has no such operation. Check operation_id.")
        return evidence
