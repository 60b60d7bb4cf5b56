"""WalletService: messages to webhooks and outcomes, decisions and evidence back."""

from __future__ import annotations

from decimal import Decimal

from gateway.actions.call import Call
from gateway.actions.keep_evidence import KeepEvidence, NewOutcome
from gateway.actions.verify_wallet import Decision, VerifyWallet, Webhook
from gateway.core.wallet import Operation, Reply, money_text
from gateway.errors import FieldFault, InvalidField
from gateway.evidence.record import Balance, Evidence, RecordedResponse
from gateway.services.convert import environment_from_proto, environment_to_proto, timestamp_to_us, timestamp_us
from gateway.v1 import common_pb2, wallet_pb2

_VERDICTS = {name.removeprefix("WALLET_VERDICT_"): number for name, number in wallet_pb2.WalletVerdict.items()}
_DISPOSITIONS = {
    name.removeprefix("WALLET_DISPOSITION_"): number for name, number in wallet_pb2.WalletDisposition.items()
}
_ORIGINAL_STATES = {
    name.removeprefix("WALLET_ORIGINAL_STATE_"): number for name, number in wallet_pb2.WalletOriginalState.items()
}


class WalletService:
    """Serves phoenix.gateway.v1.WalletService."""

    def __init__(self, verify: VerifyWallet, evidence: KeepEvidence) -> None:
        self._verify = verify
        self._evidence = evidence

    async def VerifyWallet(
        self, request: wallet_pb2.VerifyWalletRequest, call: Call
    ) -> wallet_pb2.VerifyWalletResponse:
        """Verify one webhook and claim its move."""
        webhook = Webhook(
            method=request.method,
            path=request.path,
            headers=tuple((header.name, header.value) for header in request.headers),
            raw_body=request.raw_body,
        )
        decision = await self._verify(request.operator_code, environment_from_proto(request.environment), webhook, call)
        return _decision(decision)

    async def RecordWalletOutcome(
        self, request: wallet_pb2.RecordWalletOutcomeRequest, call: Call
    ) -> wallet_pb2.RecordWalletOutcomeResponse:
        """Record what the wallet did and answered."""
        has_body = request.WhichOneof("response") == "response_body"
        outcome = NewOutcome(
            operation_id=request.operation_id,
            attempt=request.attempt,
            status=request.response_status,
            body=request.response_body if has_body else None,
            body_sha256=None if has_body else request.response_body_sha256,
            operator_transaction_id=request.operator_transaction_id,
            operator_reservation_id=request.operator_reservation_id,
            available=_balance(request, "available_balance"),
            reserved=_balance(request, "reserved_balance"),
            processed_at_us=timestamp_to_us(request.process_time) if request.HasField("process_time") else None,
        )
        return wallet_pb2.RecordWalletOutcomeResponse(evidence=_evidence(await self._evidence.record(outcome, call)))

    async def GetWalletEvidence(
        self, request: wallet_pb2.GetWalletEvidenceRequest, call: Call
    ) -> wallet_pb2.GetWalletEvidenceResponse:
        """Return the evidence of one operation."""
        by_key = request.WhichOneof("by") == "key"
        found = await self._evidence.get(
            operator_code=request.operator_code,
            environment=environment_from_proto(request.environment),
            operation_id="" if by_key else request.operation_id,
            operation=request.key.operation if by_key else "",
            idempotency_key=request.key.idempotency_key if by_key else "",
            call=call,
        )
        return wallet_pb2.GetWalletEvidenceResponse(evidence=_evidence(found))


def _balance(request: wallet_pb2.RecordWalletOutcomeRequest, field: str) -> Balance | None:
    if not request.HasField(field):  # type: ignore[arg-type]
        return None
    money: common_pb2.Money = getattr(request, field)
    if not money.amount:
        raise InvalidField([FieldFault(field=f"{field}.amount", description="must be a decimal number such as 12.50")])
    return Balance(amount=money.amount, currency=money.currency_code)


def _decision(decision: Decision) -> wallet_pb2.VerifyWalletResponse:
    answer = wallet_pb2.VerifyWalletResponse(
        verdict=_VERDICTS[decision.verdict.value],
        operation_id=decision.operation_id,
        attempt=decision.attempt,
        suspect_replay=decision.suspect_replay,
        probed_before=decision.probed_before,
        key_id=decision.key_id or "",
        request_body_sha256=decision.body_sha256,
    )
    if decision.reply is not None:
        answer.reply.CopyFrom(_reply(decision.reply))
    if decision.disposition is not None:
        answer.disposition = _DISPOSITIONS[decision.disposition.value]
    if decision.lease_expires_at_us is not None:
        answer.lease_expire_time.CopyFrom(timestamp_us(decision.lease_expires_at_us))
    if decision.operation is not None:
        answer.operation.CopyFrom(_operation(decision.operation))
    if decision.recorded is not None:
        answer.recorded_response.CopyFrom(_recorded(decision.recorded))
    if decision.original_state is not None:
        answer.original_state = _ORIGINAL_STATES[decision.original_state.value]
    return answer


def _reply(reply: Reply) -> wallet_pb2.WalletReply:
    return wallet_pb2.WalletReply(
        status=reply.status,
        content_type=reply.content_type,
        body=reply.body,
        retry_after_seconds=reply.retry_after_s,
    )


def _operation(operation: Operation) -> wallet_pb2.WalletOperation:
    return wallet_pb2.WalletOperation(
        operation=operation.operation,
        idempotency_key=operation.idempotency_key or "",
        player_id=operation.player_id,
        amount=_money(operation.amount, operation.currency),
        amount_json=operation.amount_json,
        references_json=operation.references_json,
        reason=operation.reason,
        original_operation=operation.original_operation or "",
    )


def _recorded(recorded: RecordedResponse) -> wallet_pb2.RecordedResponse:
    return wallet_pb2.RecordedResponse(
        status=recorded.status,
        body_sha256=recorded.body_sha256,
        body=recorded.body,
        record_time=timestamp_us(recorded.recorded_at_us),
    )


def _evidence(evidence: Evidence) -> wallet_pb2.WalletEvidence:
    content = evidence.content
    message = wallet_pb2.WalletEvidence(
        operation_id=evidence.operation_id,
        operator_code=evidence.operator_code,
        environment=environment_to_proto(evidence.environment),
        state=wallet_pb2.WALLET_OPERATION_STATE_IN_PROGRESS
        if evidence.response is None
        else wallet_pb2.WALLET_OPERATION_STATE_FINISHED,
        operation=wallet_pb2.WalletOperation(
            operation=content.operation,
            idempotency_key=evidence.idempotency_key,
            player_id=content.player_id,
            amount=_money(content.amount, content.currency),
            amount_json=content.amount_json,
            references_json=content.references_json,
            reason=evidence.reason,
        ),
        attempt=evidence.attempt,
        lease_expire_time=timestamp_us(evidence.lease_expires_at_us),
        receive_time=timestamp_us(evidence.received_at_us),
        request_body=evidence.body,
        request_body_sha256=content.body_sha256,
        signature=evidence.signature,
        key_id=evidence.key_id,
        first_request_id=evidence.request_id,
        suspect_replay=evidence.suspect_replay,
        probed_before=evidence.probed_before,
        response=None if evidence.response is None else _recorded(evidence.response),
        operator_transaction_id=evidence.operator_transaction_id,
        operator_reservation_id=evidence.operator_reservation_id,
        available_balance=_reported(evidence.available),
        reserved_balance=_reported(evidence.reserved),
        process_time=None if evidence.processed_at_us is None else timestamp_us(evidence.processed_at_us),
    )
    for incident in evidence.incidents:
        message.incidents.add(
            reason=incident.reason.value,
            receive_time=timestamp_us(incident.received_at_us),
            attempt=incident.attempt,
            response_status=incident.status,
            response_body_sha256=incident.body_sha256,
            operator_transaction_id=incident.operator_transaction_id,
        )
    return message


def _money(amount: Decimal | None, currency: str) -> common_pb2.Money | None:
    """Return the amount as exact text; None where its form is not understood."""
    return None if amount is None else common_pb2.Money(amount=money_text(amount), currency_code=currency)


def _reported(balance: Balance | None) -> common_pb2.Money | None:
    return None if balance is None else common_pb2.Money(amount=balance.amount, currency_code=balance.currency)
