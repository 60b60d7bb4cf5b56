"""Decides when a request is sent again, and what a failure then means. No other layer retries.

A read may always be repeated. A change is repeated only if certainly nothing happened, or if Phoenix deduplicates it.
Every try is prepared again, with a new timestamp and signature over the same body. `resilience.retry` computes the
waits. Source: gamification.md 4.
"""

import asyncio
import enum
import itertools
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from gateway import errors
from gateway.core.event_ids import RESEND_WITHIN_S
from gateway.errors.tries import Try
from gateway.phoenix.answers import Surface, after_doubt, error_of, error_of_failure
from gateway.phoenix.host_log import HostLog, part_of
from gateway.phoenix.http_types import (
    DEFAULT_MAX_ANSWER_BYTES,
    Answer,
    AnswerGarbled,
    AnswerOversized,
    ExchangeFailed,
    NotSent,
    OwnLimitReached,
    Request,
    Sender,
    TimedOut,
)
from gateway.resilience.clock import Clock
from gateway.resilience.deadline import Deadline
from gateway.resilience.retry import RetrySettings, wait_s
from gateway.resilience.retry_budget import RetryBudget


class Idempotency(enum.Enum):
    """What sending the same request twice does. The names are those of gRPC's method option."""

    NO_SIDE_EFFECTS = "no_side_effects"
    """A read."""
    IDEMPOTENT = "idempotent"
    """Phoenix acts on it once, while it remembers it."""
    NOT_IDEMPOTENT = "not_idempotent"
    """Phoenix may act each time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How a request is tried again."""

    retry: RetrySettings = field(default_factory=RetrySettings)
    resend_within_s: float = RESEND_WITHIN_S
    """How long after its first sending an idempotent request may be sent again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """The final answer, and the number of tries.

    `in_doubt`: Phoenix may have acted on an earlier try.
    """

    answer: Answer
    tries: int
    in_doubt: bool = False


class UpstreamObserver(Protocol):
    """Counts requests to Phoenix; `telemetry.metrics.Metrics` is one."""

    def upstream_answered(self, surface: str, status: int, seconds: float) -> None:
        """One request was answered."""
        ...

    def upstream_unanswered(self, surface: str, how: str, seconds: float) -> None:
        """One request got no answer: `not_sent`, `own_limit`, `timed_out`, `lost` or `garbled`."""
        ...

    def upstream_settled(self, surface: str, reason: str, tries: int) -> None:
        """A request has ended, after all its tries. The reason is empty for success."""
        ...

    def retry_withheld(self, surface: str) -> None:
        """A request was not sent again, because too many were."""
        ...


class Unobserved:
    """Counts nothing."""

    def upstream_answered(self, surface: str, status: int, seconds: float) -> None:
        """Count nothing."""

    def upstream_unanswered(self, surface: str, how: str, seconds: float) -> None:
        """Count nothing."""

    def upstream_settled(self, surface: str, reason: str, tries: int) -> None:
        """Count nothing."""

    def retry_withheld(self, surface: str) -> None:
        """Count nothing."""


class RetryingSender:
    """Sends requests, and sends them again where that is safe."""

    def __init__(
        self,
        *,
        sender: Sender,
        clock: Clock,
        settings: RetryPolicy | None = None,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        random: Callable[[], float] = random.random,
        observer: UpstreamObserver | None = None,
        budgets: Mapping[Surface, RetryBudget] | None = None,
        hosts: HostLog | None = None,
    ) -> None:
        """Take the way to Phoenix, the clock and the source of random numbers as arguments.

        `budgets`: bound the tries beyond the first; shared by all that send to the same hosts. None: no bound.
        `hosts`: logs which hosts do not answer. None: the caller does.
        """
        self._sender = sender
        self._clock = clock
        self._settings = settings or RetryPolicy()
        self._pause = pause
        self._random = random
        self._observer = observer or Unobserved()
        self._budgets = budgets or {}
        self._hosts = hosts

    async def deliver(
        self,
        prepare: Callable[[], Request | Awaitable[Request]],
        *,
        idempotency: Idempotency,
        surface: Surface,
        deadline: Deadline,
        accepted_statuses: frozenset[int] = frozenset(),
        max_answer_bytes: int = DEFAULT_MAX_ANSWER_BYTES,
        in_doubt: bool = False,
    ) -> Delivered:
        """Send until a final answer comes: a 2xx, or one of `accepted_statuses`.

        `prepare` is called for each try, and awaited where a store signs the request. Args: `in_doubt`: the same bytes
        were sent before, and Phoenix may have acted.
        Raises: OutcomeUnknown if Phoenix may have acted on any try and another try cannot tell; DeadlineTooShort and
        other UpstreamFaults, all of effect NONE.
        """
        if deadline.expired:
            too_short = errors.DeadlineTooShort()
            raise after_doubt(too_short, surface) if in_doubt else too_short
        began_at = self._clock.monotonic()
        budget = self._budgets.get(surface)
        if budget is not None:
            budget.note_first_try(began_at)
        changes = idempotency is not Idempotency.NO_SIDE_EFFECTS
        rejected_before = False
        made: list[Try] = []
        for tries in itertools.count(1):
            answer: Answer | None = None
            fault: errors.GatewayError
            wait_at_least_s = 0.0
            try:
                prepared = prepare()
                request = prepared if isinstance(prepared, Request) else await prepared
            except errors.GatewayError as error:
                raise (after_doubt(error, surface) if in_doubt else error) from error.__cause__
            try:
                answer = await self._send(request, surface, deadline, max_answer_bytes, made)
            except ExchangeFailed as failure:
                fault = error_of_failure(failure, surface, changes=changes)
                again = _worth_repeating_unanswered(failure, idempotency)
            else:
                if 200 <= answer.status < 300 or answer.status in accepted_statuses:
                    self._observer.upstream_settled(surface.value, "", tries)
                    if self._hosts is not None:
                        self._hosts.answered(part_of(surface), request.url_base)
                    return Delivered(answer=answer, tries=tries, in_doubt=in_doubt)
                fault = error_of(answer, surface, self._clock.now(), changes=changes)
                # A clock or a key may have been corrected: try once more. Calls that a rotation caught are no load that
                # the budget has to keep from Phoenix.
                if (
                    answer.status == 401
                    and not rejected_before
                    and (answer.keys_changed or self._may_retry(budget, surface))
                ):
                    rejected_before = True
                    continue
                again = _worth_repeating(answer, fault, idempotency)
                wait_at_least_s = fault.requested_wait_s or 0.0
            if in_doubt:
                fault = after_doubt(fault, surface, None if answer is None else answer.status)
            in_doubt = in_doubt or fault.effect is not errors.Effect.NONE
            wait = wait_at_least_s + wait_s(tries, self._settings.retry, self._random)
            if (
                not again
                or tries >= self._settings.retry.max_tries
                or wait >= deadline.remaining()
                or (idempotency is Idempotency.IDEMPOTENT and self._too_late(began_at, wait))
                or not self._may_retry(budget, surface)
            ):
                self._observer.upstream_settled(surface.value, fault.reason, tries)
                fault.address = request.url_base
                fault.tries = tuple(made)
                if self._hosts is not None:
                    took_s = self._clock.monotonic() - began_at
                    self._hosts.failed(part_of(surface), request.url_base, fault, took_s)
                raise fault
            await self._pause(wait)
        raise AssertionError("unreachable: the loop ends by return or raise")

    async def _send(
        self, request: Request, surface: Surface, deadline: Deadline, max_answer_bytes: int, made: list[Try]
    ) -> Answer:
        """Send once; report the result to the observer, and note it for the call and in `made`."""
        began_at = self._clock.monotonic()

        def note(took_s: float, *, status: int = 0, how: str = "", errno: str = "") -> None:
            address = request.url_base
            one = Try(began_at=began_at, took_s=took_s, address=address, status=status, how=how, errno=errno)
            made.append(one)
            deadline.note_try(one)

        try:
            answer = await self._sender.send(request, deadline, max_answer_bytes)
        except ExchangeFailed as failure:
            took_s, how = self._clock.monotonic() - began_at, _how(failure)
            self._observer.upstream_unanswered(surface.value, how, took_s)
            note(took_s, how=how, errno=failure.errno)
            raise
        except asyncio.CancelledError:
            note(self._clock.monotonic() - began_at, how="left")
            raise
        took_s = self._clock.monotonic() - began_at
        self._observer.upstream_answered(surface.value, answer.status, took_s)
        note(took_s, status=answer.status)
        return answer

    def _may_retry(self, budget: RetryBudget | None, surface: Surface) -> bool:
        if budget is None or budget.take_retry(self._clock.monotonic()):
            return True
        self._observer.retry_withheld(surface.value)
        return False

    def _too_late(self, began_at: float, wait: float) -> bool:
        """Whether Phoenix may have forgotten the first try when the next one arrives."""
        return self._clock.monotonic() + wait - began_at > self._settings.resend_within_s


def _worth_repeating(answer: Answer, fault: errors.GatewayError, idempotency: Idempotency) -> bool:
    """Whether sending the same again is safe, and may bring another answer than this refusal."""
    match idempotency:
        case Idempotency.NO_SIDE_EFFECTS:
            limited = answer.status == 429 and "retry-after" in answer.headers
            return limited or isinstance(fault, errors.PhoenixUnavailable)
        case Idempotency.IDEMPOTENT:
            return isinstance(fault, errors.PhoenixUnavailable) or fault.effect is errors.Effect.MAYBE
        case Idempotency.NOT_IDEMPOTENT:
            return False


def _worth_repeating_unanswered(failure: ExchangeFailed, idempotency: Idempotency) -> bool:
    """Whether sending the same again is safe, and may bring an answer."""
    match failure:
        case NotSent():
            return True
        case TimedOut():
            return False
        case AnswerOversized():
            return False
        case AnswerGarbled() if idempotency is Idempotency.NO_SIDE_EFFECTS:
            return False  # the same would come back
        case _:
            return idempotency is not Idempotency.NOT_IDEMPOTENT


def _how(failure: ExchangeFailed) -> str:
    match failure:
        case OwnLimitReached():
            return "own_limit"
        case NotSent():
            return "not_sent"
        case TimedOut():
            return "timed_out"
        case AnswerGarbled():
            return "garbled"
        case _:
            return "lost"
