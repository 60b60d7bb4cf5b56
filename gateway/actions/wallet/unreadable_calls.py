"""What VerifyWallet does about signed webhooks that cannot be read: keep them, raise an alert, answer what was settled.

A person settles such a webhook (settle_unreadable.py). From then on Phoenix gets that answer, and the webhook never
becomes a move, not even after a change of settings that makes it readable.
"""

from __future__ import annotations

from gateway.actions.shared.call import Call
from gateway.actions.shared.contexts import OperatorContext
from gateway.actions.wallet.decision import Decision, refused
from gateway.core.types import is_plain_text
from gateway.core.wallet import Disposition, OriginalState, Reply, SignedParts, Verdict
from gateway.core.wallet_body import MAX_KEY_BYTES
from gateway.errors import DeadlineTooShort, OutcomeDiffers, StaleAttempt, StoreFault
from gateway.evidence.record import Outcome, ProbeResult, RecordedResponse
from gateway.evidence.store import WalletStore
from gateway.evidence.unreadable import UnreadableWebhooks
from gateway.evidence.unreadable_webhook import UnreadableCall
from gateway.resilience.clock import Clock
from gateway.resilience.deadline import Deadline
from gateway.telemetry.logs import log

_WITHIN_S = 1.0
_ADVICE = "run `phoenix-gateway evidence list --unreadable`; docs/wallet.md says how to settle it"


class UnreadableCalls:
    """Keeps unreadable webhooks, and finds what was settled."""

    def __init__(self, store: UnreadableWebhooks, moves: WalletStore, clock: Clock) -> None:
        self._store = store
        self._moves = moves
        self._clock = clock

    async def decide(self, context: OperatorContext, unreadable: UnreadableCall, call: Call) -> Decision:
        """Keep a webhook for a person, and answer 503 or what a person settled."""
        settled = await self._keep(context, unreadable, call)
        decision = refused(context, Verdict.UNREADABLE_OPERATION, unreadable.body_sha256, unreadable.key_id)
        if settled is None:
            return decision
        return decision._replace(reply=reply_of(settled), settled=True)

    async def _keep(self, context: OperatorContext, unreadable: UnreadableCall, call: Call) -> RecordedResponse | None:
        """Keep a webhook, and return the settled answer. None: answer 503, also when the store cannot be reached.

        The first arrival is logged as an error, because a person must act. The metric counts every arrival.
        """
        deadline = Deadline.after(_WITHIN_S, self._clock).earlier(call.deadline)
        is_new, settled, store = False, None, ""
        try:
            is_new = await self._store.keep(unreadable, deadline)
            settled = await self._store.settlement(
                unreadable.operator_code,
                unreadable.environment,
                unreadable.body_sha256,
                unreadable.idempotency_key,
                deadline,
            )
        except (StoreFault, DeadlineTooShort) as fault:
            store = fault.reason
        write = log().error if is_new or store else log().warning
        write(
            "signed webhook cannot be read",
            request_id=call.request_id,
            operator=context.operator_code,
            environment=context.environment.value,
            webhook_sha256=unreadable.body_sha256,
            trouble=unreadable.trouble,
            settled=settled is not None,
            advice=_ADVICE,
            **({"store": store} if store else {}),
        )
        return settled

    async def as_settled(
        self, context: OperatorContext, decision: Decision, settled: RecordedResponse, call: Call
    ) -> Decision:
        """Answer what a person settled for a webhook that could not be read before. No wallet may make its move.

        Raises: StoreFault, DeadlineTooShort.
        """
        if decision.verdict is Verdict.VERIFIED and decision.reply is not None:
            return decision
        if decision.disposition in (Disposition.NEW, Disposition.RECLAIMED):
            # Record it as the outcome of the move, so that every later call is a replay.
            outcome = Outcome(
                operation_id=decision.operation_id,
                attempt=decision.attempt,
                status=settled.status,
                body=settled.body,
                body_sha256=settled.body_sha256,
                operator_transaction_id="",
                operator_reservation_id="",
                available=None,
                reserved=None,
                processed_at_us=None,
            )
            try:
                await self._moves.record_outcome(outcome, call.deadline)
            except (StaleAttempt, OutcomeDiffers):
                return refused(context, Verdict.STORE_UNAVAILABLE, decision.body_sha256, decision.key_id)
            decision = decision._replace(disposition=Disposition.REPLAY, recorded=settled)
        return decision._replace(reply=reply_of(settled))

    async def probed(
        self, context: OperatorContext, idempotency_key: str, result: ProbeResult, call: Call
    ) -> ProbeResult:
        """Return the answer to a probe when no move has its key: an unreadable webhook may be that move.

        While a person has not settled it, it is in progress: NOT_SEEN could make Phoenix replace a move that the person
        is about to book. Raises: StoreUnavailable, DeadlineTooShort.
        """
        if result.state is not OriginalState.NOT_SEEN:
            return result
        answers = await self._store.of_key(context.operator_code, context.environment, idempotency_key, call.deadline)
        if not answers:
            return result
        settled = [answer for answer in answers if answer is not None]
        if len(settled) < len(answers):
            return ProbeResult(state=OriginalState.IN_PROGRESS, operation_id="", recorded=None)
        if len({(answer.status, answer.body) for answer in settled}) > 1:
            return ProbeResult(state=OriginalState.AMBIGUOUS, operation_id="", recorded=None)
        return ProbeResult(state=OriginalState.FINISHED, operation_id="", recorded=settled[0])


def key_text(parts: SignedParts) -> str:
    """Return the idempotency key as the store keeps it for an unreadable webhook; "" if there is no usable one."""
    key = parts.idempotency_key.value if parts.idempotency_key else None
    if key is None or not is_plain_text(key, MAX_KEY_BYTES) or len(key.encode("utf-8")) > MAX_KEY_BYTES:
        return ""
    return key


def reply_of(recorded: RecordedResponse) -> Reply | None:
    """Return a recorded response as a reply; None if only its hash is stored."""
    if recorded.body is None:
        return None
    content_type = "application/problem+json" if recorded.status == 422 else "application/json"
    return Reply(status=recorded.status, content_type=content_type, body=recorded.body)
