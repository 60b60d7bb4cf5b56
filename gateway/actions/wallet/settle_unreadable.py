"""List the signed webhooks that could not be read, and settle one: decide what Phoenix is answered.

A person settles: the gateway cannot know what an unreadable webhook asks for. docs/wallet.md says how to decide.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from gateway.actions.shared.call import Call
from gateway.actions.shared.call_record import WalletRecord
from gateway.actions.shared.contexts import OperatorContext
from gateway.actions.shared.directory import OperatorDirectory
from gateway.actions.shared.page_token import PageToken, decode_page_token, encode_page_token, token_fault
from gateway.actions.wallet.record_outcome import check_final
from gateway.core.encoding import sha256_hex
from gateway.core.types import Environment
from gateway.evidence.record import RecordedResponse
from gateway.evidence.unreadable import UnreadableWebhooks
from gateway.evidence.unreadable_webhook import Settlement, UnreadableWebhook

_LIST = "ListUnreadableWebhooks"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSettlement:
    """What a person decided about one webhook."""

    operator_code: str
    environment: Environment | None
    webhook_id: str
    body_sha256: str
    status: int
    body: bytes = field(repr=False)
    note: str


class SettleUnreadable:
    """The actions behind ListUnreadableWebhooks and SettleUnreadableWebhook."""

    def __init__(self, operators: OperatorDirectory[OperatorContext], store: UnreadableWebhooks) -> None:
        self._operators = operators
        self._store = store

    async def page(
        self,
        operator_code: str,
        environment: Environment | None,
        *,
        include_settled: bool,
        page_size: int,
        page_token: str,
        call: Call,
    ) -> tuple[tuple[UnreadableWebhook, ...], str]:
        """Return one page and the token of the next one ("": none).

        Raises: InvalidField, OperatorUnknown, StoreFault.
        """
        context = self._operators.resolve(operator_code, environment, call)
        place = json.dumps([context.operator_code, context.environment.value, include_settled])
        after = _after(page_token, place) if page_token else 0
        found = await self._store.page(
            context.operator_code,
            context.environment,
            include_settled=include_settled,
            after=after,
            limit=page_size,
            deadline=call.deadline,
        )
        if found.after is None:
            return found.webhooks, ""
        token = PageToken(of=_LIST, tenant_id="", place=place, after=str(found.after))
        return found.webhooks, encode_page_token(token)

    async def settle(self, decided: NewSettlement, call: Call) -> UnreadableWebhook:
        """Record what Phoenix is answered from now on.

        Raises: InvalidField for a passing failure; OperatorUnknown, PhoenixNotFound, OutcomeDiffers, StoreFault.
        """
        check_final(decided.status)
        context = self._operators.resolve(decided.operator_code, decided.environment, call)
        call.record.wallet = WalletRecord(operation_id=decided.webhook_id)
        response = RecordedResponse(
            status=decided.status, body_sha256=sha256_hex(decided.body), body=decided.body, recorded_at_us=0
        )
        return await self._store.settle(
            context.operator_code,
            context.environment,
            decided.webhook_id,
            decided.body_sha256,
            Settlement(response=response, note=decided.note, caller=call.caller),
            call.deadline,
        )


def _after(text: str, place: str) -> int:
    token = decode_page_token(text, of=_LIST, tenant_id="")
    if token.place != place:
        raise token_fault("belongs to a request with other fields")
    if not token.after.isdecimal() or len(token.after) > 18:
        raise token_fault("is not a token of this method")
    return int(token.after)
