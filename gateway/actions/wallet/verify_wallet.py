"""Verify one wallet webhook, claim its move, and decide what the wallet does and answers.

The order makes it safe: first the signature over the raw bytes, before any parsing; then the body; then one durable
claim. A final refusal (400, 401, 403) is given only if it is certain. Every doubt and every failure of ours is a 503.
Source: prediction.md 5.1; API.md, WalletService.
"""

from __future__ import annotations

from gateway.actions.shared.call import Call
from gateway.actions.shared.call_record import WalletRecord
from gateway.actions.shared.contexts import OperatorContext
from gateway.actions.shared.directory import OperatorDirectory
from gateway.actions.wallet.decision import Decision, Webhook, refused
from gateway.actions.wallet.unreadable_calls import UnreadableCalls, key_text, reply_of
from gateway.core.encoding import sha256_hex
from gateway.core.types import Environment, KeyId
from gateway.core.wallet import (
    HOLDABLE,
    Disposition,
    HeaderAnomaly,
    Operation,
    OperationKind,
    OriginalState,
    Refusal,
    SignedParts,
    Verdict,
    find_route,
    parse_operation,
    reply_for,
    reply_for_disposition,
    route_anomalies,
    signed_parts,
)
from gateway.errors import DeadlineTooShort, Overloaded, StoreFault
from gateway.evidence.record import ClaimResult, MoveClaim
from gateway.evidence.store import WalletStore
from gateway.evidence.unreadable_webhook import UnreadableCall
from gateway.keys.platform.settings import KeyUnavailable
from gateway.resilience.clock import Clock
from gateway.telemetry.logs import log

_LOGGED = 128
"""Characters of an unsigned header in a log line."""


class VerifyWallet:
    """The action behind VerifyWallet."""

    def __init__(
        self,
        operators: OperatorDirectory[OperatorContext],
        store: WalletStore,
        unreadable: UnreadableCalls,
        clock: Clock,
    ) -> None:
        self._operators = operators
        self._store = store
        self._unreadable = unreadable
        self._clock = clock

    async def __call__(
        self, operator_code: str, environment: Environment | None, webhook: Webhook, call: Call
    ) -> Decision:
        """Decide on one webhook.

        Raises: OperatorUnknown, InvalidField. Every other failure is a Decision with a 503 reply.
        """
        context = self._operators.resolve(operator_code, environment, call)
        received_at_us = round(self._clock.now() * 1_000_000)
        record = call.record.wallet = WalletRecord()
        decision = await self._decide(context, webhook, received_at_us, call, record)
        record.verdict, record.disposition = decision.verdict, decision.disposition
        record.operation_id = decision.operation_id
        record.probed_before, record.suspect_replay = decision.probed_before, decision.suspect_replay
        record.settled = decision.settled
        record.reply_status = None if decision.reply is None else decision.reply.status
        call.record.key_id = decision.key_id or call.record.key_id
        if decision.suspect_replay:
            log().warning(
                "the same signed body came before under another key",
                request_id=call.request_id,
                operation_id=decision.operation_id,
                operator=context.operator_code,
                environment=context.environment.value,
            )
        return decision

    async def _decide(
        self, context: OperatorContext, webhook: Webhook, received_at_us: int, call: Call, record: WalletRecord
    ) -> Decision:
        # 1. The relevant headers.
        parts = signed_parts(webhook.headers)
        if isinstance(parts, Refusal):
            return refused(context, parts.verdict, sha256_hex(webhook.raw_body))
        record.webhook_request_id = parts.request_id or ""
        path = "" if webhook.route is not None else webhook.path
        anomalies = parts.anomalies | route_anomalies(webhook.method, path)
        if anomalies:
            # They are counted and logged only: headers and path are not signed, so they are no ground to refuse.
            record.odd_headers = tuple(anomalies)
            record.provider = (parts.provider or "")[:_LOGGED] if HeaderAnomaly.PROVIDER in anomalies else ""
        # 2. The signature over the raw bytes. Nothing is parsed so far.
        verdict, key_id = await self._check_signature(context, parts, webhook.raw_body, call)
        if verdict is not Verdict.VERIFIED:
            return refused(context, verdict, sha256_hex(webhook.raw_body))
        # 3. The body, which is now known to be from Phoenix.
        operation = parse_operation(
            find_route(webhook.method, webhook.path, webhook.route),
            webhook.raw_body,
            parts.idempotency_key,
            context.wallet,
            context.operator_id,
            context.environment,
        )
        if isinstance(operation, Refusal):
            if operation.verdict is Verdict.UNREADABLE_OPERATION:
                unreadable = _unreadable(context, parts, webhook, operation.why, received_at_us, key_id)
                return await self._unreadable.decide(context, unreadable, call)
            log().warning(
                "signed webhook not taken",
                request_id=call.request_id,
                operator=context.operator_code,
                environment=context.environment.value,
                verdict=operation.verdict.value,
                trouble=operation.why,
            )
            return refused(context, operation.verdict, sha256_hex(webhook.raw_body), key_id)
        # 4. The claim, durable before the answer.
        if operation.kind is OperationKind.BALANCE:
            if parts.idempotency_key is not None:
                record.odd_headers = (*record.odd_headers, HeaderAnomaly.BALANCE_KEY)
            return Decision(
                verdict=Verdict.VERIFIED,
                body_sha256=operation.body_sha256,
                key_id=key_id,
                operation=operation,
                disposition=Disposition.NOT_A_MOVE,
            )
        try:
            if operation.kind is OperationKind.PROBE:
                probed = await self._probe(context, operation, received_at_us, key_id, call)
                if probed is not None:
                    return probed
                why = "a probe whose key belongs to no move or several of the named kind"
                unreadable = _unreadable(context, parts, webhook, why, received_at_us, key_id)
                return await self._unreadable.decide(context, unreadable, call)
            result = await self._claim(context, operation, parts, webhook.raw_body, received_at_us, key_id, call)
            decision = _claimed(context, operation, result, key_id)
            if result.settled is not None:
                decision = await self._unreadable.as_settled(context, decision, result.settled, call)
            return decision
        except (StoreFault, Overloaded, DeadlineTooShort):
            return refused(context, Verdict.STORE_UNAVAILABLE, operation.body_sha256, key_id)

    async def _check_signature(
        self, context: OperatorContext, parts: SignedParts, body: bytes, call: Call
    ) -> tuple[Verdict, KeyId | None]:
        """Verify with the platform key only. A signature is bad only for a key fetched after the call arrived.

        With a configured file it is bad only if the key that Phoenix publishes does not verify it either.
        """
        keys = context.platform_keys
        try:
            known = keys.current() or await keys.first(call.deadline, len(body))
            call.record.key_id = known.key.key_id
            if known.key.verify(body, parts.signature):
                return Verdict.VERIFIED, known.key.key_id
            fresh = await keys.fresher(call.deadline, len(body))
            call.record.key_id = fresh.key.key_id
            # The same key gives the same result, so a forged call costs only one verification.
            if fresh.key != known.key and fresh.key.verify(body, parts.signature):
                return Verdict.VERIFIED, fresh.key.key_id
            is_outdated = await keys.is_outdated(body, parts.signature, call.deadline)
            trouble = Verdict.KEY_UNAVAILABLE if is_outdated else Verdict.BAD_SIGNATURE
        except KeyUnavailable:
            trouble = Verdict.KEY_UNAVAILABLE
        for retired in keys.retired():
            if retired.verify(body, parts.signature):
                return Verdict.KEY_RETIRED, retired.key_id
        return trouble, None

    async def _claim(
        self,
        context: OperatorContext,
        operation: Operation,
        parts: SignedParts,
        body: bytes,
        received_at_us: int,
        key_id: KeyId | None,
        call: Call,
    ) -> ClaimResult:
        return await self._store.claim(
            MoveClaim(
                operator_code=context.operator_code,
                environment=context.environment,
                idempotency_key=operation.idempotency_key or "",
                content=operation.content(),
                reason=operation.reason,
                body=body,
                signature=parts.signature_text,
                key_id=key_id or KeyId(""),
                request_id=parts.request_id,
                received_at_us=received_at_us,
                lease_us=round(context.lease_s * 1_000_000),
                holds_suspects=operation.operation in context.held_operations & HOLDABLE,
            ),
            call.deadline,
        )

    async def _probe(
        self, context: OperatorContext, operation: Operation, received_at_us: int, key_id: KeyId | None, call: Call
    ) -> Decision | None:
        """Return the state of the original; None if it is ambiguous."""
        key = operation.idempotency_key or ""
        result = await self._store.probe(
            context.operator_code,
            context.environment,
            key,
            operation.original_operation,
            received_at_us,
            call.deadline,
        )
        result = await self._unreadable.probed(context, key, result, call)
        if result.state is OriginalState.AMBIGUOUS:
            return None
        return Decision(
            verdict=Verdict.VERIFIED,
            body_sha256=operation.body_sha256,
            key_id=key_id,
            operation=operation,
            disposition=Disposition.STATUS_PROBE,
            operation_id=result.operation_id,
            original_state=result.state,
            recorded=result.recorded,
        )


def _unreadable(
    context: OperatorContext,
    parts: SignedParts,
    webhook: Webhook,
    why: str,
    received_at_us: int,
    key_id: KeyId | None,
) -> UnreadableCall:
    return UnreadableCall(
        operator_code=context.operator_code,
        environment=context.environment,
        idempotency_key=key_text(parts),
        body_sha256=sha256_hex(webhook.raw_body),
        body=webhook.raw_body,
        route=find_route(webhook.method, webhook.path, webhook.route),
        trouble=why,
        signature=parts.signature_text,
        key_id=key_id or KeyId(""),
        request_id=parts.request_id,
        received_at_us=received_at_us,
    )


def _claimed(context: OperatorContext, operation: Operation, result: ClaimResult, key_id: KeyId | None) -> Decision:
    """Return what the claimant has to do."""
    if result.disposition is None:
        return Decision(
            verdict=Verdict.HELD_SUSPECT_REPLAY,
            body_sha256=operation.body_sha256,
            reply=reply_for(Verdict.HELD_SUSPECT_REPLAY, context.wallet),
            key_id=key_id,
            operation_id=result.operation_id,
            suspect_replay=True,
        )
    reply = reply_for_disposition(result.disposition)
    if result.disposition is Disposition.REPLAY and result.recorded is not None:
        reply = reply_of(result.recorded)  # None: then the wallet answers from its ledger
    return Decision(
        verdict=Verdict.VERIFIED,
        body_sha256=operation.body_sha256,
        reply=reply,
        key_id=key_id,
        operation=operation,
        disposition=result.disposition,
        operation_id=result.operation_id,
        attempt=result.attempt,
        lease_expires_at_us=result.lease_ends_us,
        recorded=result.recorded,
        suspect_replay=result.suspect_replay,
        probed_before=result.probed_before,
    )
