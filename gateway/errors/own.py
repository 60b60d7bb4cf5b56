"""Failures of the gateway itself and of its durable store."""

from __future__ import annotations

from gateway.errors.base import Effect, OwnFault, StoreFault


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
