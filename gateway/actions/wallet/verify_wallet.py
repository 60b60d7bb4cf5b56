"""Verify one wallet webhook, claim its move, and decide what the wallet does and answers.

The order makes it safe: first the signature over the raw bytes, before any parsing; then the body; then one durable
claim. A final refusal (400, 401, 403) is given only if it is certain. Every doubt and every failure of ours is a 503.
Source: prediction.md 5.1; API.md, WalletService.
"""

from __future__ import annotations

from typing import NamedTuple

from gateway.actions.shared.call import Call
from gateway.actions.shared.call_record import WalletRecord
from gateway.actions.shared.contexts import OperatorContext
from gateway.actions.shared.directory import OperatorDirectory
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
    Reply,
    SignedParts,
    Verdict,
    parse_operation,
    reply_for,
    reply_for_disposition,
    signed_parts,
)
from gateway.errors import DeadlineTooShort, Overloaded, StoreFault
from gateway.evidence.record import MoveClaim, ProbeResult, RecordedResponse
from gateway.evidence.store import WalletStore
from gateway.keys.platform.settings import KeyUnavailable
from gateway.resilience.clock import Clock
from gateway.telemetry.logs import log


class Webhook(NamedTuple):
    """A webhook exactly as received. `headers`: name and value pairs, with repeated names."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    raw_body: bytes


class Decision(NamedTuple):
    """The result of verification. `reply` is set whenever the wallet must not act."""

    verdict: Verdict
    body_sha256: str
    reply: Reply | None = None
    key_id: KeyId | None = None
    operation: Operation | None = None
    disposition: Disposition | None = None
    operation_id: str = ""
    attempt: int = 0
    lease_expires_at_us: int | None = None
    recorded: RecordedResponse | None = None
    original_state: OriginalState | None = None
    suspect_replay: bool = False
    probed_before: bool = False


class VerifyWallet:
    """The action behind VerifyWallet."""

    def __init__(self, operators: OperatorDirectory[OperatorContext], store: WalletStore, clock: Clock) -> None:
        self._operators = operators
        self._store = store
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
        call.record.key_id = decision.key_id or None
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
        body_sha256 = sha256_hex(webhook.raw_body)
        # 1. The relevant headers.
        parts = signed_parts(webhook.headers)
        if isinstance(parts, Refusal):
            return self._refused(context, parts.verdict, body_sha256)
        record.webhook_request_id = parts.request_id or ""
        if parts.anomalies:
            # Odd headers are counted and logged only: they are not signed, so they are no ground to refuse.
            record.odd_headers = tuple(parts.anomalies)
            record.provider = (parts.provider or "") if HeaderAnomaly.PROVIDER in parts.anomalies else ""
        # 2. The signature over the raw bytes. Nothing is parsed so far.
        verdict, key_id = await self._check_signature(context, parts, webhook.raw_body, call)
        if verdict is not Verdict.VERIFIED:
            return self._refused(context, verdict, body_sha256)
        # 3. The body, which is now known to be from Phoenix.
        operation = parse_operation(
            webhook.method,
            webhook.path,
            webhook.raw_body,
            parts.idempotency_key,
            context.wallet,
            context.operator_id,
            context.environment,
        )
        if isinstance(operation, Refusal):
            log().warning(
                "signed webhook not taken",
                request_id=call.request_id,
                operator=context.operator_code,
                environment=context.environment.value,
                verdict=operation.verdict.value,
                trouble=operation.why,
            )
            return self._refused(context, operation.verdict, body_sha256, key_id)
        # 4. The claim, durable before the answer.
        if operation.kind is OperationKind.BALANCE:
            if parts.idempotency_key is not None:
                record.odd_headers = (*record.odd_headers, HeaderAnomaly.BALANCE_KEY)
            return Decision(
                verdict=Verdict.VERIFIED,
                body_sha256=body_sha256,
                key_id=key_id,
                operation=operation,
                disposition=Disposition.NOT_A_MOVE,
            )
        try:
            if operation.kind is OperationKind.PROBE:
                return await self._probe(context, operation, received_at_us, key_id, call)
            return await self._claim(context, operation, parts, webhook.raw_body, received_at_us, key_id, call)
        except (StoreFault, Overloaded, DeadlineTooShort):
            return self._refused(context, Verdict.STORE_UNAVAILABLE, body_sha256, key_id)

    async def _check_signature(
        self, context: OperatorContext, parts: SignedParts, body: bytes, call: Call
    ) -> tuple[Verdict, KeyId | None]:
        """Verify with the platform key only. A signature is bad only for a key fetched after the call arrived."""
        keys = context.platform_keys
        try:
            known = keys.current() or await keys.first(call.deadline, len(body))
            if known.key.verify(body, parts.signature):
                return Verdict.VERIFIED, known.key.key_id
            fresh = await keys.fresher(call.deadline, len(body))
            # The same key gives the same result, so a forged call costs only one verification.
            if fresh.key != known.key and fresh.key.verify(body, parts.signature):
                return Verdict.VERIFIED, fresh.key.key_id
            trouble = Verdict.BAD_SIGNATURE
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
    ) -> Decision:
        result = await self._store.claim(
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
            reply = _replay(result.recorded)
        return Decision(
            verdict=Verdict.VERIFIED,
            body_sha256=operation.body_sha256,
            reply=reply,
            key_id=key_id,
            operation=operation,
            disposition=result.disposition,
            operation_id=result.operation_id,
            attempt=result.attempt,
            lease_expires_at_us=result.lease_expires_at_us,
            recorded=result.recorded,
            suspect_replay=result.suspect_replay,
            probed_before=result.probed_before,
        )

    async def _probe(
        self, context: OperatorContext, operation: Operation, received_at_us: int, key_id: KeyId | None, call: Call
    ) -> Decision:
        result: ProbeResult = await self._store.probe(
            context.operator_code,
            context.environment,
            operation.idempotency_key or "",
            operation.original_operation,
            received_at_us,
            call.deadline,
        )
        if result.state is OriginalState.AMBIGUOUS:
            return self._refused(context, Verdict.UNREADABLE_OPERATION, operation.body_sha256, key_id)
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

    @staticmethod
    def _refused(context: OperatorContext, verdict: Verdict, body_sha256: str, key_id: KeyId | None = None) -> Decision:
        return Decision(
            verdict=verdict, body_sha256=body_sha256, reply=reply_for(verdict, context.wallet), key_id=key_id
        )


def _replay(recorded: RecordedResponse) -> Reply | None:
    """Return the recorded response; None if only its hash is stored. Then the wallet answers from its ledger."""
    if recorded.body is None:
        return None
    content_type = "application/problem+json" if recorded.status == 422 else "application/json"
    return Reply(status=recorded.status, content_type=content_type, body=recorded.body)
