"""WalletService: messages to webhooks and outcomes, decisions and evidence back."""

from __future__ import annotations

from collections.abc import AsyncIterator

from gateway.actions.shared.call import Call
from gateway.actions.wallet.decision import Decision, Webhook
from gateway.actions.wallet.export_chain import ExportChain
from gateway.actions.wallet.list_evidence import ListEvidence, Wanted
from gateway.actions.wallet.record_outcome import NewOutcome, RecordWalletOutcomes
from gateway.actions.wallet.settle_unreadable import NewSettlement, SettleUnreadable
from gateway.actions.wallet.verify_wallet import VerifyWallet
from gateway.core.wallet import OperationKind, Reply
from gateway.errors import FieldFault, InvalidField
from gateway.evidence.record import Balance, OperationState
from gateway.services.convert import environment_from_proto, timestamp_to_us, timestamp_us
from gateway.services.wallet_chain import exported_message
from gateway.services.wallet_messages import (
    STATES,
    evidence_message,
    listed_messages,
    operation_message,
    recorded_message,
    unreadable_message,
)
from gateway.v1 import common_pb2, wallet_pb2

_VERDICTS = {name.removeprefix("WALLET_VERDICT_"): number for name, number in wallet_pb2.WalletVerdict.items()}
_DISPOSITIONS = {
    name.removeprefix("WALLET_DISPOSITION_"): number for name, number in wallet_pb2.WalletDisposition.items()
}
_ORIGINAL_STATES = {
    name.removeprefix("WALLET_ORIGINAL_STATE_"): number for name, number in wallet_pb2.WalletOriginalState.items()
}
_ROUTES = {
    wallet_pb2.WALLET_ROUTE_BALANCE: OperationKind.BALANCE,
    wallet_pb2.WALLET_ROUTE_TRANSACTIONS: OperationKind.MOVE,
    wallet_pb2.WALLET_ROUTE_TRANSACTION_STATUS: OperationKind.PROBE,
}
_STATES = {number: OperationState(name) for name, number in STATES.items()}
_PAGE_SIZE = 50


class WalletService:
    """Serves phoenix.gateway.v1.WalletService."""

    def __init__(
        self,
        verify: VerifyWallet,
        evidence: RecordWalletOutcomes,
        listing: ListEvidence,
        chain: ExportChain,
        unreadable: SettleUnreadable,
    ) -> None:
        self._verify = verify
        self._evidence = evidence
        self._listing = listing
        self._chain = chain
        self._unreadable = unreadable

    async def VerifyWallet(
        self, request: wallet_pb2.VerifyWalletRequest, call: Call
    ) -> wallet_pb2.VerifyWalletResponse:
        """Verify one webhook and claim its move."""
        route = _ROUTES.get(request.route)
        if route is None and not request.path:
            raise InvalidField([FieldFault(field="path", description="must be set, or route")])
        webhook = Webhook(
            method=request.method,
            path=request.path,
            headers=tuple((header.name, _header_value(header)) for header in request.headers),
            raw_body=request.raw_body,
            route=route,
        )
        decision = await self._verify(request.operator_code, environment_from_proto(request.environment), webhook, call)
        return _decision(decision)

    async def RecordWalletOutcome(
        self, request: wallet_pb2.RecordWalletOutcomeRequest, call: Call
    ) -> wallet_pb2.RecordWalletOutcomeResponse:
        """Record what the wallet did and answered."""
        has_body = request.WhichOneof("response") == "response_body"
        outcome = NewOutcome(
            operator_code=request.operator_code,
            environment=environment_from_proto(request.environment),
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
            final=request.final,
        )
        return wallet_pb2.RecordWalletOutcomeResponse(
            evidence=evidence_message(await self._evidence.record(outcome, call))
        )

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
        return wallet_pb2.GetWalletEvidenceResponse(evidence=evidence_message(found))

    async def ListWalletEvidence(
        self, request: wallet_pb2.ListWalletEvidenceRequest, call: Call
    ) -> wallet_pb2.ListWalletEvidenceResponse:
        """Return one page of evidence by time."""
        page_size = request.page_size if request.HasField("page_size") else _PAGE_SIZE
        listed = await self._listing.page(_wanted(request), page_size, request.page_token, call)
        return wallet_pb2.ListWalletEvidenceResponse(
            evidence=listed_messages(listed, omit_bodies=request.omit_bodies),
            next_page_token=listed.next_page_token,
            settle_time=timestamp_us(listed.settled_us),
        )

    async def ExportWalletEvidence(
        self, request: wallet_pb2.ExportWalletEvidenceRequest, call: Call
    ) -> AsyncIterator[wallet_pb2.ExportWalletEvidenceResponse]:
        """Stream all evidence by time."""
        if request.include_chain:
            async for exported in self._chain(_wanted(request), request.page_token, call):
                yield exported_message(exported, omit_bodies=request.omit_bodies)
            return
        async for listed in self._listing.export(_wanted(request), request.page_token, call):
            yield wallet_pb2.ExportWalletEvidenceResponse(
                evidence=listed_messages(listed, omit_bodies=request.omit_bodies),
                next_page_token=listed.next_page_token,
                settle_time=timestamp_us(listed.settled_us),
            )

    async def ListUnreadableWebhooks(
        self, request: wallet_pb2.ListUnreadableWebhooksRequest, call: Call
    ) -> wallet_pb2.ListUnreadableWebhooksResponse:
        """Return one page of the webhooks that could not be read."""
        found, next_page_token = await self._unreadable.page(
            request.operator_code,
            environment_from_proto(request.environment),
            include_settled=request.include_settled,
            page_size=request.page_size if request.HasField("page_size") else _PAGE_SIZE,
            page_token=request.page_token,
            call=call,
        )
        return wallet_pb2.ListUnreadableWebhooksResponse(
            webhooks=map(unreadable_message, found), next_page_token=next_page_token
        )

    async def SettleUnreadableWebhook(
        self, request: wallet_pb2.SettleUnreadableWebhookRequest, call: Call
    ) -> wallet_pb2.SettleUnreadableWebhookResponse:
        """Record what Phoenix is answered to one of them."""
        decided = NewSettlement(
            operator_code=request.operator_code,
            environment=environment_from_proto(request.environment),
            webhook_id=request.webhook_id,
            body_sha256=request.request_body_sha256,
            status=request.response_status,
            body=request.response_body,
            note=request.note,
        )
        settled = await self._unreadable.settle(decided, call)
        return wallet_pb2.SettleUnreadableWebhookResponse(webhook=unreadable_message(settled))


def _header_value(header: wallet_pb2.HttpHeader) -> str:
    """Return the value; Latin-1 maps each byte to one character, so different values stay different."""
    if not header.raw_value:
        return header.value
    try:
        return header.raw_value.decode("utf-8")
    except UnicodeDecodeError:
        return header.raw_value.decode("latin-1")


def _wanted(request: wallet_pb2.ListWalletEvidenceRequest | wallet_pb2.ExportWalletEvidenceRequest) -> Wanted:
    one_page = request if isinstance(request, wallet_pb2.ListWalletEvidenceRequest) else None
    return Wanted(
        operator_code=request.operator_code,
        environment=environment_from_proto(request.environment),
        start_us=timestamp_to_us(request.start_time) if request.HasField("start_time") else None,
        end_us=timestamp_to_us(request.end_time) if request.HasField("end_time") else None,
        player_id=one_page.player_id if one_page else "",
        state=_STATES.get(one_page.state) if one_page else None,
    )


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
        answer.operation.CopyFrom(operation_message(decision.operation))
    if decision.recorded is not None:
        answer.recorded_response.CopyFrom(recorded_message(decision.recorded))
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
