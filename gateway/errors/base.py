"""The base of all refusals and its four kinds, by whose fault it is."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import ClassVar

from gateway.errors.tries import Try


class Effect(enum.Enum):
    """Did Phoenix act on the request that failed? The values are what callers read in `ErrorInfo.metadata`."""

    NONE = "none"
    """Certainly not."""
    MAYBE = "maybe"
    """The request left, and no answer says whether Phoenix acted."""
    DONE = "done"
    """It acted, and its answer cannot be passed on."""


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


class UpstreamFault(GatewayError):
    """Phoenix, or the way there."""


class StoreFault(GatewayError):
    """The durable store."""


class OwnFault(GatewayError):
    """The gateway itself."""
