"""Converts stored evidence and parsed webhooks into messages of WalletService."""

from __future__ import annotations

from decimal import Decimal

from gateway.actions.wallet.list_evidence import Listed
from gateway.core.wallet import Operation, money_text
from gateway.evidence.record import Balance, Evidence, RecordedResponse
from gateway.evidence.unreadable_webhook import UnreadableWebhook
from gateway.services.convert import environment_to_proto, timestamp_us
from gateway.v1 import common_pb2, wallet_pb2

STATES = {
    name.removeprefix("WALLET_OPERATION_STATE_"): number
    for name, number in wallet_pb2.WalletOperationState.items()
    if number != wallet_pb2.WALLET_OPERATION_STATE_UNSPECIFIED
}


def operation_message(operation: Operation) -> wallet_pb2.WalletOperation:
    """Return the parsed body of a verified webhook."""
    return wallet_pb2.WalletOperation(
        operation=operation.operation,
        idempotency_key=operation.idempotency_key or "",
        player_id=operation.player_id,
        amount=_money(operation.amount, operation.currency),
        amount_json=operation.amount_json,
        references_json=operation.references_json,
        reason=operation.reason,
        original_operation=operation.original_operation or "",
        currency_code=operation.currency,
    )


def recorded_message(recorded: RecordedResponse) -> wallet_pb2.RecordedResponse:
    """Return the response that a wallet had recorded."""
    return wallet_pb2.RecordedResponse(
        status=recorded.status,
        body_sha256=recorded.body_sha256,
        body=recorded.body,
        record_time=timestamp_us(recorded.recorded_at_us),
    )


def evidence_message(evidence: Evidence) -> wallet_pb2.WalletEvidence:
    """Return everything kept of one move."""
    content = evidence.content
    message = wallet_pb2.WalletEvidence(
        operation_id=evidence.operation_id,
        operator_code=evidence.operator_code,
        environment=environment_to_proto(evidence.environment),
        state=STATES[evidence.state.value],
        operation=wallet_pb2.WalletOperation(
            operation=content.operation,
            idempotency_key=evidence.idempotency_key,
            player_id=content.player_id,
            amount=_money(content.amount, content.currency),
            amount_json=content.amount_json,
            references_json=content.references_json,
            reason=evidence.reason,
            currency_code=content.currency,
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
        response=None if evidence.response is None else recorded_message(evidence.response),
        operator_transaction_id=evidence.operator_transaction_id,
        operator_reservation_id=evidence.operator_reservation_id,
        available_balance=_reported(evidence.available),
        reserved_balance=_reported(evidence.reserved),
        process_time=None if evidence.processed_at_us is None else timestamp_us(evidence.processed_at_us),
        replay_count=evidence.replay_count,
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
    for conflict in evidence.conflicts:
        message.conflicts.add(
            receive_time=timestamp_us(conflict.received_at_us),
            count=conflict.count,
            request_body_sha256=conflict.body_sha256,
            request_body=conflict.body,
            signature=conflict.signature,
            key_id=conflict.key_id,
            first_request_id=conflict.request_id,
        )
    return message


def unreadable_message(webhook: UnreadableWebhook) -> wallet_pb2.UnreadableWebhook:
    """Return a webhook that could not be read, and how it was settled."""
    call, settlement = webhook.call, webhook.settlement
    return wallet_pb2.UnreadableWebhook(
        webhook_id=webhook.webhook_id,
        operator_code=call.operator_code,
        environment=environment_to_proto(call.environment),
        request_body=call.body,
        request_body_sha256=call.body_sha256,
        idempotency_key=call.idempotency_key,
        trouble=call.trouble,
        signature=call.signature,
        key_id=call.key_id,
        first_request_id=call.request_id,
        first_receive_time=timestamp_us(call.received_at_us),
        last_receive_time=timestamp_us(webhook.last_received_at_us),
        count=webhook.count,
        settlement=None
        if settlement is None
        else wallet_pb2.Settlement(
            response=recorded_message(settlement.response), note=settlement.note, caller=settlement.caller
        ),
    )


def _money(amount: Decimal | None, currency: str) -> common_pb2.Money | None:
    """Return the amount as exact text; None where its form is not understood."""
    return None if amount is None else common_pb2.Money(amount=money_text(amount), currency_code=currency)


def _reported(balance: Balance | None) -> common_pb2.Money | None:
    return None if balance is None else common_pb2.Money(amount=balance.amount, currency_code=balance.currency)


def without_bodies(message: wallet_pb2.WalletEvidence) -> wallet_pb2.WalletEvidence:
    """Take the bodies out; their hashes stay."""
    message.ClearField("request_body")
    for conflict in message.conflicts:
        conflict.ClearField("request_body")
    if message.HasField("response"):
        message.response.ClearField("body")
    return message


def listed_messages(listed: Listed, *, omit_bodies: bool) -> list[wallet_pb2.WalletEvidence]:
    """Return the evidence of one page."""
    messages = [evidence_message(one) for one in listed.evidence]
    return [without_bodies(message) for message in messages] if omit_bodies else messages
