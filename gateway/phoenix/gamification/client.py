"""What all clients of the Gamification hosts share: the host, the credentials, the circuit breaker, the paths.

One client is for one tenant and one host. `authorize` returns the headers of one request, so the client holds no
credentials. Source: gamification.md 1.3, 1.4.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field

from gateway import errors
from gateway.core.canonical import encode_segment
from gateway.core.types import TenantId
from gateway.phoenix.answers import Surface, after_doubt
from gateway.phoenix.auth.authorize import Authorize
from gateway.phoenix.http_types import Answer, AnswerLost, Request
from gateway.phoenix.retry import Delivered, Idempotency, RetryingSender
from gateway.resilience.breaker import Breaker, Circuit
from gateway.resilience.deadline import Deadline
from gateway.telemetry.trouble import TroubleLog

PATIENCE_S = 1.0
"""A timeout after less than this says nothing about Phoenix: short deadlines must not open the circuit."""

_FAILURES = (errors.PhoenixUnavailable, errors.PhoenixTimeout, errors.PhoenixAnswerUnreadable, errors.OutcomeUnknown)
"""The errors that count against Phoenix. A refusal does not: it proves that Phoenix answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GamificationClient:
    """One tenant's client for one host."""

    retrying: RetryingSender
    base_url: str
    """`https://host[:port]`, without a path."""
    tenant_id: TenantId
    surface: Surface
    authorize: Authorize
    breaker: Breaker | None = None
    """For this tenant and host. None: no call is held back."""
    troubles: TroubleLog = field(init=False)
    """Says why the breaker opened."""

    def __post_init__(self) -> None:
        """Make the log of this host."""
        advice = "calls are refused with CIRCUIT_OPEN until a probe is answered; phoenix-gateway doctor checks the host"
        log = TroubleLog(f"Phoenix {self.surface.value}", address=self.base_url, advice=advice)
        object.__setattr__(self, "troubles", log)

    async def read(
        self,
        raw_path: str,
        deadline: Deadline,
        *,
        query: tuple[tuple[str, str], ...] = (),
        accepted_statuses: frozenset[int] = frozenset(),
    ) -> Answer:
        """GET and return the 2xx, or an answer with one of `accepted_statuses`. A read is retried."""

        def prepare() -> Request:
            return Request(
                method="GET",
                url_base=self.base_url,
                raw_path=raw_path,
                query=query,
                headers={"accept": "application/json", **self.authorize("GET", raw_path, b"")},
            )

        return (await self._deliver(prepare, Idempotency.NO_SIDE_EFFECTS, deadline, accepted_statuses)).answer

    async def post(
        self,
        raw_path: str,
        body: bytes | Callable[[], bytes],
        deadline: Deadline,
        *,
        idempotency: Idempotency,
        accepted_statuses: frozenset[int] = frozenset(),
        in_doubt: bool = False,
        status_suffices: bool = False,
    ) -> Delivered:
        """POST a JSON body. The bytes that are signed are sent. A callable `body` is called for each try.

        Args: `in_doubt`: as `RetryingSender.deliver`; `status_suffices`: as `Request`.
        """
        make = body if callable(body) else None
        given = b"" if callable(body) else body

        def prepare() -> Request:
            sent = given if make is None else make()
            return Request(
                method="POST",
                url_base=self.base_url,
                raw_path=raw_path,
                headers={
                    "accept": "application/json",
                    "content-type": "application/json",
                    **self.authorize("POST", raw_path, sent),
                },
                body=sent,
                status_suffices=status_suffices,
            )

        return await self._deliver(prepare, idempotency, deadline, accepted_statuses, in_doubt=in_doubt)

    async def _deliver(
        self,
        prepare: Callable[[], Request],
        idempotency: Idempotency,
        deadline: Deadline,
        accepted_statuses: frozenset[int],
        *,
        in_doubt: bool = False,
    ) -> Delivered:
        """Deliver if the breaker allows it, and report the result to it. Raises: CircuitOpen, with nothing sent."""
        deliver = functools.partial(
            self.retrying.deliver,
            prepare,
            idempotency=idempotency,
            surface=self.surface,
            deadline=deadline,
            accepted_statuses=accepted_statuses,
            in_doubt=in_doubt,
        )
        breaker = self.breaker
        if breaker is None:
            return await deliver()
        began_at = deadline.clock.monotonic()
        try:
            permit = breaker.enter()
        except errors.CircuitOpen as error:
            raise after_doubt(error, self.surface) if in_doubt else error from None
        try:
            delivered = await deliver()
        except _FAILURES as trouble:
            timed_out = deadline.expired or isinstance(trouble, errors.PhoenixTimeout)
            if (timed_out and deadline.clock.monotonic() - began_at < PATIENCE_S) or _was_stale(trouble):
                breaker.abandoned(permit)
            else:
                breaker.failed(permit, wait_s=trouble.requested_wait_s or 0.0)
                if breaker.circuit is Circuit.OPEN:
                    self.troubles.failed(trouble)
            raise
        except errors.UpstreamFault:
            breaker.succeeded(permit)
            raise
        except BaseException:
            breaker.abandoned(permit)
            raise
        breaker.succeeded(permit)
        self.troubles.works()
        return delivered


def _was_stale(trouble: BaseException) -> bool:
    """Whether the last try failed only because the server had just closed the kept connection that it used."""
    cause = trouble.__cause__
    return isinstance(cause, AnswerLost) and cause.was_stale


def path(*segments: str) -> str:
    """Return the path of these segments. Each is percent-encoded, so that none can change the path's structure."""
    return "/" + "/".join(encode_segment(segment) for segment in segments)
