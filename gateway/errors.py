"""Every way a call can fail, by whose fault it is.

GatewayError
├── CallerFault           the caller can correct it
│   ├── InvalidField          INVALID_ARGUMENT     names the fields
│   ├── TenantUnknown, OperatorUnknown, KeyUnknown   NOT_FOUND
│   ├── NotAllowed            PERMISSION_DENIED
│   ├── RateLimited, Overloaded   RESOURCE_EXHAUSTED
│   ├── DeadlineTooShort      DEADLINE_EXCEEDED
│   ├── EventIdReused         ALREADY_EXISTS
│   └── WindowChanged, StaleAttempt, OutcomeDiffers   FAILED_PRECONDITION
├── UpstreamFault         Phoenix, or the way there
│   ├── PhoenixRefusedInput, PhoenixRejectedCredentials, PhoenixForbidden, PhoenixNotFound,
│   │   PhoenixConflict, PhoenixRefusedState, BoardNotActive, PhoenixRateLimited    it said no
│   ├── PhoenixUnavailable, PhoenixAnswerUnreadable, PhoenixTimeout, CircuitOpen    certainly nothing was done
│   └── OutcomeUnknown        UNKNOWN              Phoenix may have acted, or acted and gave no readable answer
├── StoreFault
│   └── StoreUnavailable, AuditUnavailable   UNAVAILABLE
└── OwnFault
    ├── Disabled              UNAVAILABLE          switched off by the gateway's operators
    ├── SigningKeyUnavailable UNAVAILABLE          the store that keeps the launch key does not sign
    ├── Stopping              UNAVAILABLE          the process is about to end
    └── InternalFault         INTERNAL, fixed text

A class holds what never changes of its kind: `reason` (status detail, metric label, test) and
`code` (the google.rpc code's name). An instance holds a message for the caller: what was wrong and
what to do; never a secret, a signature, a token or an upstream body. It also holds `effect`: did
Phoenix act? Whatever asks that (memory of event ids, durable delivery, retries, RetryInfo, the
command line) reads this value and infers it from nothing else. UNAVAILABLE is what clients, meshes
and proxies send again by themselves, so no error of that code can have another effect than NONE.
Turning an error into a status happens at one place, `gateway/services/status.py`. Source: API.md, "Reasons".
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldFault:
    """One field that is wrong: its path in the request and what it must be instead."""

    field: str
    description: str


class Effect(enum.Enum):
    """Did Phoenix act on the request that failed? The values are what callers read in `ErrorInfo.metadata`."""

    NONE = "none"
    """Certainly not."""
    MAYBE = "maybe"
    """The request left, and no answer says whether Phoenix acted."""
    DONE = "done"
    """It acted, and its answer cannot be passed on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """One request to Phoenix, for the log and for `explain`.

    `began_at`: seconds of the monotonic clock. `status`: Phoenix's, 0 without an answer; `how` then says how it failed:
    `not_sent`, `own_limit`, `timed_out`, `lost`, `garbled` or `left` (by its caller), and `errno` why, such as
    ECONNREFUSED. `address`: scheme, host and port.
    """

    began_at: float
    took_s: float
    address: str
    status: int = 0
    how: str = ""
    errno: str = ""


class GatewayError(Exception):
    """Base of all refusals.

    `requested_wait_s` is the wait that Phoenix, the breaker or a limit asked for; `metadata` holds
    further facts for machines (never secrets); `address` is the host or file that failed, for the log only.
    """

    reason: ClassVar[str] = "INTERNAL"
    code: ClassVar[str] = "INTERNAL"
    default_message: ClassVar[str] = "Internal error. Report it with the request id."
    default_retry_after_s: ClassVar[float | None] = None
    default_effect: ClassVar[Effect] = Effect.NONE
    tries: tuple[Try, ...] = ()
    """The requests to Phoenix that this failure ended, if there were any. For the log only."""

    def __init__(
        self,
        message: str | None = None,
        *,
        effect: Effect | None = None,
        retry_after_s: float | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        """Raises: ValueError for an effect that the code denies: a caller would send the request a second time."""
        self.message = message or self.default_message
        self.effect = effect or self.default_effect
        self.requested_wait_s = retry_after_s
        self.metadata: Mapping[str, str] = metadata or {}
        self.address = ""
        if self.code == "UNAVAILABLE" and self.effect is not Effect.NONE:
            raise ValueError("UNAVAILABLE means that nothing was done; raise OutcomeUnknown")
        super().__init__(self.message)

    @property
    def retry_after_s(self) -> float | None:
        """The wait after which trying again can help; None where it cannot, or could act twice."""
        if self.effect is not Effect.NONE:
            return None
        return self.default_retry_after_s if self.requested_wait_s is None else self.requested_wait_s


class CallerFault(GatewayError):
    """The caller can correct it."""


class InvalidField(CallerFault):
    """The request breaks the contract; every faulty field is named."""

    reason = "INVALID_FIELD"
    code = "INVALID_ARGUMENT"

    def __init__(self, faults: Sequence[FieldFault]) -> None:
        self.faults = tuple(faults)
        named = "; ".join(f"{fault.field}: {fault.description}" for fault in self.faults[:5])
        super().__init__(f"The request is not valid. {named}")


class TenantUnknown(CallerFault):
    """No such tenant is configured."""

    reason = "TENANT_UNKNOWN"
    code = "NOT_FOUND"
    default_message = "No such tenant is configured here. Check tenant_id."


class OperatorUnknown(CallerFault):
    """No such operator environment is configured."""

    reason = "OPERATOR_UNKNOWN"
    code = "NOT_FOUND"
    default_message = "No such operator and environment is configured here. Check operator_code and environment."


class KeyUnknown(CallerFault):
    """The tenant or operator has no key of the kind that the call needs."""

    reason = "KEY_UNKNOWN"
    code = "NOT_FOUND"
    default_message = (
        "The key that this call needs is not configured. ListKeys shows the keys; ask the gateway's operators for it."
    )


class NotAllowed(CallerFault):
    """The caller has no right to this."""

    reason = "NOT_ALLOWED"
    code = "PERMISSION_DENIED"
    default_message = "This caller may not do this. Ask the owner of the gateway's policy."


class RateLimited(CallerFault):
    """A limit of the caller's own."""

    reason = "RATE_LIMITED"
    code = "RESOURCE_EXHAUSTED"
    default_message = "Too many calls. Wait as RetryInfo says and try again."
    default_retry_after_s = 1.0
    pace_s: float = 0.0
    """The front sends the refusal after so many seconds: a flood is answered at a fixed pace."""


class Overloaded(CallerFault):
    """Too much load on the gateway."""

    reason = "OVERLOADED"
    code = "RESOURCE_EXHAUSTED"
    default_message = "The gateway is at its limit. Wait as RetryInfo says and try again."
    default_retry_after_s = 1.0


class AnswerTooLarge(CallerFault):
    """The answer is larger than what gRPC clients accept by default."""

    reason = "ANSWER_TOO_LARGE"
    code = "RESOURCE_EXHAUSTED"
    default_message = (
        "The answer is larger than 4 MiB, which gRPC clients refuse. Ask for less: fewer items, or smaller pages."
    )


class DeadlineTooShort(CallerFault):
    """The deadline left no time to begin, or it passed before the gateway had an answer (`effect` is then MAYBE)."""

    reason = "DEADLINE_TOO_SHORT"
    code = "DEADLINE_EXCEEDED"
    default_message = "The deadline leaves no time for the call; nothing was sent. Set a longer one."


class EventIdReused(CallerFault):
    """An event id came again with other content."""

    reason = "EVENT_ID_REUSED"
    code = "ALREADY_EXISTS"
    default_message = "This event_id was used for another event. Give each event its own."


class WindowChanged(CallerFault):
    """The board moved to another window than the page token's."""

    reason = "WINDOW_CHANGED"
    code = "FAILED_PRECONDITION"
    default_message = "The board moved to another window. Start again without page_token."


class StaleAttempt(CallerFault):
    """Another attempt has taken the wallet operation over."""

    reason = "STALE_ATTEMPT"
    code = "FAILED_PRECONDITION"
    default_message = (
        "Another attempt has taken this operation over. The outcome was kept as an incident; check the ledger."
    )


class OutcomeDiffers(CallerFault):
    """Another outcome is recorded for the wallet operation."""

    reason = "OUTCOME_DIFFERS"
    code = "FAILED_PRECONDITION"
    default_message = (
        "Another outcome is recorded for this operation. This one was kept as an incident; check the ledger."
    )


class UpstreamFault(GatewayError):
    """Phoenix, or the way there."""


class PhoenixRefusedInput(UpstreamFault):
    """Phoenix answered 400 or 413."""

    reason = "PHOENIX_REFUSED_INPUT"
    code = "INVALID_ARGUMENT"
    default_message = "Phoenix refused the input. Check ids and values; do not retry it unchanged."


class PhoenixRejectedCredentials(UpstreamFault):
    """Phoenix answered 401."""

    reason = "PHOENIX_REJECTED_CREDENTIALS"
    code = "INTERNAL"
    default_message = (
        "Phoenix rejected the gateway's credentials. The caller did nothing wrong; the gateway's operators are alerted."
    )


class PhoenixForbidden(UpstreamFault):
    """Phoenix answered 403."""

    reason = "PHOENIX_FORBIDDEN"
    code = "PERMISSION_DENIED"
    default_message = (
        "Phoenix forbids this to the configured tenant or operator. Ask the gateway's operators to have it granted."
    )


class PhoenixNotFound(UpstreamFault):
    """Phoenix answered 404, or the gateway has no such record."""

    reason = "PHOENIX_NOT_FOUND"
    code = "NOT_FOUND"
    default_message = "Phoenix has no such resource. Check the ids in your request."


class PhoenixConflict(UpstreamFault):
    """Phoenix answered 409."""

    reason = "PHOENIX_CONFLICT"
    code = "ABORTED"
    default_message = (
        "The request contradicts what Phoenix already has. Read what exists before you send another request."
    )


class PhoenixRefusedState(UpstreamFault):
    """Phoenix answered 422."""

    reason = "PHOENIX_REFUSED_STATE"
    code = "FAILED_PRECONDITION"
    default_message = (
        "Phoenix does not allow this in the present state. Establish the state that the call needs, then repeat it."
    )


class BoardNotActive(UpstreamFault):
    """Phoenix answered 422 because the board is not active."""

    reason = "BOARD_NOT_ACTIVE"
    code = "FAILED_PRECONDITION"
    default_message = "The leaderboard is not active. Activate it at Phoenix or use another."


class PhoenixRateLimited(UpstreamFault):
    """Phoenix answered 429."""

    reason = "PHOENIX_RATE_LIMITED"
    code = "RESOURCE_EXHAUSTED"
    default_message = "Phoenix limits the rate. Wait as RetryInfo says and try again."
    default_retry_after_s = 1.0


class PhoenixUnavailable(UpstreamFault):
    """Phoenix answered 503, or 5xx to a read, or no connection was made."""

    reason = "PHOENIX_UNAVAILABLE"
    code = "UNAVAILABLE"
    default_message = "Phoenix cannot be reached or is in trouble. Wait as RetryInfo says and try again."
    default_retry_after_s = 1.0


class PhoenixAnswerUnreadable(UpstreamFault):
    """The essence of Phoenix's answer is missing."""

    reason = "PHOENIX_ANSWER_UNREADABLE"
    code = "UNAVAILABLE"
    default_message = "Phoenix answered in a form that cannot be read; nothing was done. Tell the gateway's operators."


class PhoenixTimeout(UpstreamFault):
    """Phoenix did not answer in time, and nothing was changed by asking."""

    reason = "PHOENIX_TIMEOUT"
    code = "DEADLINE_EXCEEDED"
    default_message = "Phoenix did not answer within the deadline. Try again with a longer one."


class CircuitOpen(UpstreamFault):
    """Too many failures lately: nothing is sent for a while."""

    reason = "CIRCUIT_OPEN"
    code = "UNAVAILABLE"
    default_message = "Phoenix failed too often lately; nothing was sent. Wait as RetryInfo says and try again."
    default_retry_after_s = 1.0


class OutcomeUnknown(UpstreamFault):
    """Phoenix may have acted and it is not safe to send again; or it acted, and its answer cannot be passed on."""

    reason = "OUTCOME_UNKNOWN"
    code = "UNKNOWN"
    default_effect = Effect.MAYBE
    default_message = (
        "The request was sent but no answer came; Phoenix may have acted. "
        "Check whether it took effect before you send it again."
    )


class StoreFault(GatewayError):
    """The durable store."""


class StoreUnavailable(StoreFault):
    """The durable store cannot be reached or did not commit in time.

    It is UNAVAILABLE although the work may be committed (`may_be_committed`), because callers get it only where a
    repeat is safe: the store finds what is there by the wallet operation's key and attempt, or by the caller's event
    id, and returns its result. An event whose repeat would get another id is OutcomeUnknown instead.
    """

    reason = "STORE_UNAVAILABLE"
    code = "UNAVAILABLE"
    default_message = "The gateway's store is not available. Wait as RetryInfo says and try again."
    default_retry_after_s = 1.0

    def __init__(self, message: str | None = None, *, may_be_committed: bool = True) -> None:
        self.may_be_committed = may_be_committed
        super().__init__(message)


class AuditUnavailable(StoreFault):
    """The audit record that has to be kept first could not be kept in time."""

    reason = "AUDIT_UNAVAILABLE"
    code = "UNAVAILABLE"
    default_message = (
        "The gateway cannot keep its audit record, so this was not done. Wait as RetryInfo says and try again."
    )
    default_retry_after_s = 1.0


class OwnFault(GatewayError):
    """The gateway itself."""


class Disabled(OwnFault):
    """The method, tenant, operator or caller is switched off for now; never a final refusal."""

    reason = "DISABLED"
    code = "UNAVAILABLE"
    default_message = "The gateway's operators have switched this off for now. Wait as RetryInfo says, or ask them."
    default_retry_after_s = 5.0


class SigningKeyUnavailable(OwnFault):
    """The store that keeps a launch key did not sign in time, or not with that key. No other key signs instead."""

    reason = "KEY_UNAVAILABLE"
    code = "UNAVAILABLE"
    default_message = (
        "The store of the launch key does not sign at present, and no other key may. "
        "Wait as RetryInfo says and try again."
    )
    default_retry_after_s = 1.0


class Stopping(OwnFault):
    """The process is about to end; what it had read is done and acknowledged, what it had not is not."""

    reason = "STOPPING"
    code = "UNAVAILABLE"
    default_message = "This gateway is stopping. What was not acknowledged was not begun: send it on a new stream."
    default_retry_after_s = 0.1


class InternalFault(OwnFault):
    """Anything else. Its text is fixed: the cause goes to the log only."""

    default_effect = Effect.MAYBE
