"""The verdicts on a wallet webhook, and what the wallet answers Phoenix for each.

Phoenix treats 400, 401 and 403 as final, so only a verdict that is certain has such a reply. Every doubt is a 503. A
verified call may get 422, which is final too, by its disposition (`_CONFLICT` below).
Source: API.md, WalletService; prediction.md 4.6 and 5.2.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from gateway.core.wallet_adapter import WalletAdapter


class Verdict(enum.Enum):
    """The result of verification. The values are the names in the proto, in metric labels and in tests."""

    VERIFIED = "VERIFIED"
    MISSING_SIGNATURE = "MISSING_SIGNATURE"
    MALFORMED_SIGNATURE = "MALFORMED_SIGNATURE"
    BAD_SIGNATURE = "BAD_SIGNATURE"
    KEY_UNAVAILABLE = "KEY_UNAVAILABLE"
    KEY_RETIRED = "KEY_RETIRED"
    MALFORMED_BODY = "MALFORMED_BODY"
    MISSING_IDEMPOTENCY_KEY = "MISSING_IDEMPOTENCY_KEY"
    WRONG_OPERATOR = "WRONG_OPERATOR"
    WRONG_ENVIRONMENT = "WRONG_ENVIRONMENT"
    UNREADABLE_OPERATION = "UNREADABLE_OPERATION"
    HELD_SUSPECT_REPLAY = "HELD_SUSPECT_REPLAY"
    STORE_UNAVAILABLE = "STORE_UNAVAILABLE"
    AMBIGUOUS_HEADERS = "AMBIGUOUS_HEADERS"


class Disposition(enum.Enum):
    """What the wallet does with a verified call."""

    NEW = "NEW"
    REPLAY = "REPLAY"
    IN_PROGRESS = "IN_PROGRESS"
    RECLAIMED = "RECLAIMED"
    CONFLICT = "CONFLICT"
    STATUS_PROBE = "STATUS_PROBE"
    NOT_A_MOVE = "NOT_A_MOVE"


class OriginalState(enum.Enum):
    """The state of the move that a status probe asks about.

    AMBIGUOUS: several moves have the key and the probe does not name one. Callers never see it: the verdict is
    UNREADABLE_OPERATION.
    """

    NOT_SEEN = "NOT_SEEN"
    IN_PROGRESS = "IN_PROGRESS"
    FINISHED = "FINISHED"
    AMBIGUOUS = "AMBIGUOUS"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A verdict other than VERIFIED. `why` is a fixed text for logs; it quotes nothing from the call."""

    verdict: Verdict
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An HTTP answer for Phoenix. `retry_after_s` 0: without the header."""

    status: int
    content_type: str
    body: bytes
    retry_after_s: int = 0


_JSON = "application/json"
_SIGNATURE = b'{"error":"bad_signature"}'
_FINAL: dict[Verdict, Reply] = {
    Verdict.MISSING_SIGNATURE: Reply(status=401, content_type=_JSON, body=b'{"error":"missing_signature"}'),
    Verdict.MALFORMED_SIGNATURE: Reply(status=401, content_type=_JSON, body=_SIGNATURE),
    Verdict.BAD_SIGNATURE: Reply(status=401, content_type=_JSON, body=_SIGNATURE),
    Verdict.MALFORMED_BODY: Reply(status=400, content_type=_JSON, body=b'{"error":"malformed_body"}'),
    Verdict.MISSING_IDEMPOTENCY_KEY: Reply(status=400, content_type=_JSON, body=b'{"error":"missing_idempotency_key"}'),
    Verdict.WRONG_OPERATOR: Reply(status=403, content_type=_JSON, body=b'{"error":"wrong_operator"}'),
    Verdict.WRONG_ENVIRONMENT: Reply(status=403, content_type=_JSON, body=b'{"error":"wrong_environment"}'),
}
_IN_PROGRESS = Reply(status=409, content_type=_JSON, body=b'{"error":"in_progress"}')
_CONFLICT = Reply(
    status=422,
    content_type="application/problem+json",
    body=b'{"type":"about:blank","title":"Idempotency conflict","status":422,"code":"idempotency_conflict"}',
)


def reply_for(verdict: Verdict, adapter: WalletAdapter) -> Reply | None:
    """Return what the wallet answers; None for VERIFIED, because then the disposition decides.

    A verdict that is not certain gets 503.
    """
    if verdict is Verdict.VERIFIED:
        return None
    final = _FINAL.get(verdict)
    if final is not None:
        return final
    if verdict is Verdict.UNREADABLE_OPERATION and adapter.unreadable_status != 503:
        return Reply(status=adapter.unreadable_status, content_type=_JSON, body=b'{"error":"unreadable_operation"}')
    return Reply(
        status=503,
        content_type=_JSON,
        body=b'{"error":"temporarily_unavailable"}',
        retry_after_s=adapter.retry_after_s,
    )


def reply_for_disposition(disposition: Disposition) -> Reply | None:
    """Return what the wallet answers without acting; None if it acts, or replays a recorded response."""
    if disposition is Disposition.IN_PROGRESS:
        return _IN_PROGRESS
    return _CONFLICT if disposition is Disposition.CONFLICT else None
