"""When a request is sent again, and what a failure then amounts to: the one layer that retries.

The rule is the effect of the request. A read may always be repeated. What changes something is repeated only when
certainly nothing happened, or where Phoenix deduplicates it. Every try is prepared anew, so that it carries a fresh
timestamp and signature over the same body. Waits come from `resilience.retry`. Source: API.md, "Reasons"; vendor
chapter 4.
"""

import asyncio
import enum
import itertools
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from gateway import errors
from gateway.phoenix.answers import Surface, error_of
from gateway.phoenix.http_types import (
    DEFAULT_MAX_ANSWER_BYTES,
    Answer,
    AnswerGarbled,
    AnswerLost,
    ExchangeFailed,
    NotSent,
    Request,
    Sender,
    TimedOut,
)
from gateway.resilience.clock import Clock
from gateway.resilience.deadline import Deadline
from gateway.resilience.retry import RetrySettings, wait_s

_SAME_WHENEVER_SENT = frozenset({400, 413})
"""Refusals of the bytes themselves: had an earlier try with the same bytes been read, it was refused too."""


class Effect(enum.Enum):
    """What sending the same request twice does."""

    NONE = "none"
    """A read."""
    DEDUPLICATED = "deduplicated"
    """Phoenix acts on it once, for as long as it remembers it."""
    EVERY_TIME = "every_time"
    """Phoenix may act each time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How a request is tried again."""

    retry: RetrySettings = field(default_factory=RetrySettings)
    resend_within_s: float = 290.0
    """How long after its first sending a deduplicated request may be sent again. Phoenix remembers for 300 s; the rest
    is for the way there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """The answer that settled it, and how many times the request was tried."""

    answer: Answer
    tries: int


class UpstreamObserver(Protocol):
    """Counts what goes to Phoenix; `telemetry.metrics.Metrics` is one."""

    def upstream_answered(self, surface: str, status: int, seconds: float) -> None:
        """One request was answered."""
        ...

    def upstream_unanswered(self, surface: str, how: str, seconds: float) -> None:
        """One request got no answer: `not_sent`, `timed_out`, `lost` or `garbled`."""
        ...

    def upstream_settled(self, surface: str, reason: str, tries: int) -> None:
        """No more tries are made; the reason is empty for success."""
        ...


class Unobserved:
    """Counts nothing."""

    def upstream_answered(self, surface: str, status: int, seconds: float) -> None:
        """Count nothing."""

    def upstream_unanswered(self, surface: str, how: str, seconds: float) -> None:
        """Count nothing."""

    def upstream_settled(self, surface: str, reason: str, tries: int) -> None:
        """Count nothing."""


class RetryingSender:
    """Delivers requests, trying again where that is safe."""

    def __init__(
        self,
        *,
        sender: Sender,
        clock: Clock,
        settings: RetryPolicy | None = None,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
        observer: UpstreamObserver | None = None,
    ) -> None:
        """Take the way to Phoenix, the time and the chance from outside."""
        self._sender = sender
        self._clock = clock
        self._settings = settings or RetryPolicy()
        self._pause = pause
        self._chance = chance
        self._observer = observer or Unobserved()

    async def deliver(
        self,
        prepare: Callable[[], Request],
        *,
        effect: Effect,
        surface: Surface,
        deadline: Deadline,
        accepted_statuses: frozenset[int] = frozenset(),
        max_answer_bytes: int = DEFAULT_MAX_ANSWER_BYTES,
    ) -> Delivered:
        """Send until an answer settles it: a 2xx, or one of `accepted_statuses`.

        `prepare` is called for each try. Raises: DeadlineTooShort with nothing sent; OutcomeUnknown if Phoenix may have
        acted and it cannot be found out by sending again; other UpstreamFaults as API.md lists them.
        """
        if deadline.expired:
            raise errors.DeadlineTooShort
        began_at = self._clock.monotonic()
        in_doubt = False  # an earlier try may have acted
        rejected_before = False
        for tries in itertools.count(1):
            answer: Answer | None = None
            fault: errors.GatewayError
            wait_at_least_s = 0.0
            try:
                answer = await self._send(prepare(), surface, deadline, max_answer_bytes)
            except TimedOut as failure:
                if failure.sent and effect is not Effect.NONE:
                    in_doubt = True
                fault, again = harmless_fault(failure, surface), False
            except NotSent as failure:
                fault, again = harmless_fault(failure, surface), True
            except AnswerLost as failure:
                in_doubt = effect is not Effect.NONE
                fault = harmless_fault(failure, surface)
                again = effect is Effect.DEDUPLICATED or not (in_doubt or isinstance(failure, AnswerGarbled))
            else:
                if 200 <= answer.status < 300 or answer.status in accepted_statuses:
                    self._observer.upstream_settled(surface.value, "", tries)
                    return Delivered(answer=answer, tries=tries)
                fault = error_of(answer, surface, self._clock.now())
                if answer.status == 401 and not rejected_before:
                    rejected_before = True  # a clock or a secret may just have been corrected: once, at once
                    continue
                again = _worth_repeating(answer, fault, effect)
                if isinstance(fault, errors.PhoenixUnavailable) and effect is Effect.EVERY_TIME:
                    _warn_of_effect(fault, answer)
                if "retry-after" in answer.headers:
                    wait_at_least_s = fault.retry_after_s or 0.0
            if in_doubt and not (answer is not None and answer.status in _SAME_WHENEVER_SENT):
                fault = _outcome_unknown(fault, surface)
            wait = wait_at_least_s + wait_s(tries, self._settings.retry, self._chance)
            if (
                not again
                or tries >= self._settings.retry.max_tries
                or wait >= deadline.remaining()
                or (effect is Effect.DEDUPLICATED and self._too_late(began_at, wait))
            ):
                self._observer.upstream_settled(surface.value, fault.reason, tries)
                raise fault
            await self._pause(wait)
        raise AssertionError("unreachable: the loop ends by return or raise")

    async def _send(self, request: Request, surface: Surface, deadline: Deadline, max_answer_bytes: int) -> Answer:
        """Send once and tell the observer how it went."""
        began_at = self._clock.monotonic()
        try:
            answer = await self._sender.send(request, deadline, max_answer_bytes)
        except ExchangeFailed as failure:
            self._observer.upstream_unanswered(surface.value, _how(failure), self._clock.monotonic() - began_at)
            raise
        self._observer.upstream_answered(surface.value, answer.status, self._clock.monotonic() - began_at)
        return answer

    def _too_late(self, began_at: float, wait: float) -> bool:
        """Whether Phoenix may have forgotten the first sending by the time of the next one."""
        return self._clock.monotonic() + wait - began_at > self._settings.resend_within_s


def _worth_repeating(answer: Answer, fault: errors.GatewayError, effect: Effect) -> bool:
    """Whether a refusal may turn into an answer if the same is sent again, without harm."""
    match effect:
        case Effect.NONE:
            limited = answer.status == 429 and "retry-after" in answer.headers
            return limited or isinstance(fault, errors.PhoenixUnavailable)
        case Effect.DEDUPLICATED:
            return isinstance(fault, errors.PhoenixUnavailable)
        case Effect.EVERY_TIME:
            return False


def _warn_of_effect(fault: errors.PhoenixUnavailable, answer: Answer) -> None:
    """Keep a 5xx from inviting a second effect: only 503 says that nothing was done."""
    if answer.status != 503:
        fault.retry_after_s = None
        fault.message = "Phoenix is in trouble and may have acted. Look before sending it again."


def _how(failure: ExchangeFailed) -> str:
    match failure:
        case NotSent():
            return "not_sent"
        case TimedOut():
            return "timed_out"
        case AnswerGarbled():
            return "garbled"
        case _:
            return "lost"


def harmless_fault(failure: ExchangeFailed, surface: Surface) -> errors.UpstreamFault:
    """The error that a failed exchange stands for where asking changed nothing."""
    metadata = {"surface": surface.value}
    fault: errors.UpstreamFault
    match failure:
        case TimedOut():
            fault = errors.PhoenixTimeout(metadata=metadata)
        case NotSent():
            fault = errors.PhoenixUnavailable(
                "No connection to Phoenix; nothing was sent. Try again later.", metadata=metadata
            )
        case AnswerGarbled():
            fault = errors.PhoenixAnswerUnreadable(metadata=metadata)
        case _:
            fault = errors.PhoenixUnavailable(metadata=metadata)
    fault.__cause__ = failure
    return fault


def _outcome_unknown(last: errors.GatewayError, surface: Surface) -> errors.OutcomeUnknown:
    """What is left to say when Phoenix may have acted, whatever the last try came to."""
    fault = errors.OutcomeUnknown(metadata={"surface": surface.value})
    fault.__cause__ = last
    return fault
