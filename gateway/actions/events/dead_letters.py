"""Lists dead letters and queues them again. The actions behind ListDeadLetters and RedriveDeadLetters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway.actions.shared.call import Call
from gateway.actions.shared.contexts import TenantContext
from gateway.actions.shared.directory import TenantDirectory
from gateway.actions.shared.page_token import PageToken, decode_page_token, encode_page_token
from gateway.core.types import TenantId
from gateway.errors import FieldFault, InvalidField, PhoenixNotFound
from gateway.outbox.record import DeadLetter, DeadLetterQuery
from gateway.outbox.store import EventQueue
from gateway.phoenix.gamification.pending_event import Failed, Result, Submitted
from gateway.resilience.clock import Clock

DEFAULT_PAGE = 100
REDRIVE_AT_ONCE = 1000
_OF = "ListDeadLetters"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterPage:
    """Some dead letters, the oldest first, and the token of the next page (empty: this is the last)."""

    letters: tuple[DeadLetter, ...]
    next_page_token: str


class DeadLetters:
    """The dead letters of all tenants."""

    def __init__(
        self,
        tenants: TenantDirectory[TenantContext],
        queue: EventQueue,
        clock: Clock,
        *,
        wake: Callable[[TenantId], None] = lambda tenant_id: None,
        on_event: Callable[[str, int], None] = lambda name, count: None,
    ) -> None:
        """Args: `wake` is called with a tenant that has events to deliver again; `on_event` with their count."""
        self._tenants = tenants
        self._queue = queue
        self._clock = clock
        self._wake = wake
        self._on_event = on_event

    async def page(
        self, tenant_id: str, *, leaderboard_id: str, reason: str, page_size: int, page_token: str, call: Call
    ) -> DeadLetterPage:
        """Return a page. Args: `page_size` 0: the default. Raises: TenantUnknown, InvalidField, StoreUnavailable."""
        tenant = self._tenants.resolve(tenant_id, call)
        after = 0
        if page_token:
            token = decode_page_token(page_token, of=_OF, tenant_id=tenant.tenant_id, leaderboard_id=leaderboard_id)
            if token.place != reason or not token.after.isdecimal():
                raise InvalidField([FieldFault(field="page_token", description="belongs to another reason")])
            after = int(token.after)
        size = page_size or DEFAULT_PAGE
        shown, has_more = await self._queue.dead_letters(
            DeadLetterQuery(
                tenant_id=tenant.tenant_id, leaderboard_id=leaderboard_id, reason=reason, after=after, limit=size
            ),
            call.deadline,
        )
        next_token = PageToken(
            of=_OF,
            tenant_id=tenant.tenant_id,
            leaderboard_id=leaderboard_id,
            place=reason,
            after=str(shown[-1].sequence) if shown else "0",
        )
        return DeadLetterPage(letters=tuple(shown), next_page_token=encode_page_token(next_token) if has_more else "")

    async def redrive(
        self,
        tenant_id: str,
        *,
        event_ids: Sequence[str],
        leaderboard_id: str,
        reason: str,
        may_count_twice: bool,
        call: Call,
    ) -> list[Result]:
        """Queue dead letters again: those named, or up to a thousand that match the filters.

        Returns: a result for each one named, in order, or for each one found. Raises: TenantUnknown, InvalidField,
        StoreUnavailable (some may be queued then; those are no longer dead letters).
        """
        tenant = self._tenants.resolve(tenant_id, call)
        named = tuple(dict.fromkeys(event_ids))
        query = DeadLetterQuery(
            tenant_id=tenant.tenant_id,
            leaderboard_id=leaderboard_id,
            reason=reason,
            event_ids=named,
            limit=REDRIVE_AT_ONCE,
        )
        revived, held_back = await self._queue.redrive(query, call.deadline, may_count_twice=may_count_twice)
        call.record.count = len(revived)
        if revived:
            self._on_event("redriven", len(revived))
            self._wake(tenant.tenant_id)
        now = self._clock.now()
        results: dict[str, Result] = {
            event_id: Submitted(event_id=event_id, duplicate=False, accepted_at=now, queued=True)
            for event_id in revived
        }
        results.update((event_id, Failed(event_id=event_id, error=_doubtful())) for event_id in held_back)
        return [
            results.get(event_id)
            or Failed(event_id=event_id, error=PhoenixNotFound("This tenant has no such dead letter."))
            for event_id in (named or results)
        ]


def _doubtful() -> InvalidField:
    return InvalidField(
        [
            FieldFault(
                field="may_count_twice",
                description="must be true for an event of unknown outcome: Phoenix may have it already",
            )
        ]
    )
