"""Ingestion: events to Phoenix.

The body is made and serialised once, by `core.wire`, before it comes here. Bulk calls are not sent. Source: vendor
chapter 2.1; API.md, "EventService".
"""

import enum
from dataclasses import dataclass

from gateway.core.types import TenantId
from gateway.phoenix.answers import Surface
from gateway.phoenix.gamification.client import Authorize, GamificationClient
from gateway.phoenix.tries import Courier, Effect
from gateway.resilience.deadline import Deadline

_EVENTS_PATH = "/v1/events"


class Acceptance(enum.Enum):
    """How Phoenix took an event."""

    ACCEPTED = "accepted"
    """It said 2xx: queued for scoring, which follows within seconds."""
    DUPLICATE = "duplicate"
    """It said 409: an event of this id came before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventsSettings:
    """What is believed about Phoenix's event log; the defaults can neither lose nor double an event."""

    sends_event_id: bool = True
    """`PHOENIX_SEND_EVENT_ID`: bodies carry their `event_id`, so a 409 means that the event is there already."""
    deduplicates: bool = False
    """`PHOENIX_DEDUPLICATES_EVENTS`: Phoenix counts an `event_id` once in 300 s, so a lost answer may be sent again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """An event that Phoenix has, and how many times it was tried."""

    acceptance: Acceptance
    tries: int


class EventsClient:
    """One tenant's events."""

    def __init__(
        self,
        *,
        courier: Courier,
        base_url: str,
        tenant_id: TenantId,
        authorize: Authorize,
        settings: EventsSettings | None = None,
    ) -> None:
        """Send to `INGESTION_BASE_URL` with the tenant's HMAC headers."""
        self._client = GamificationClient(
            courier=courier, base_url=base_url, tenant_id=tenant_id, surface=Surface.INGESTION, authorize=authorize
        )
        settings = settings or EventsSettings()
        # Without an id in the body there is nothing to deduplicate by, whatever the setting says.
        deduplicated = settings.sends_event_id and settings.deduplicates
        self._effect = Effect.DEDUPLICATED if deduplicated else Effect.EVERY_TIME
        self._welcome = frozenset({409}) if settings.sends_event_id else frozenset[int]()

    async def submit(self, event: bytes, deadline: Deadline) -> Submitted:
        """Send one event as serialised and return how Phoenix took it; the body of its 2xx means nothing.

        Raises: OutcomeUnknown if Phoenix may have counted it and it is not safe to send again; else as
        `Courier.deliver`, with the certainty that it was not counted, except for a 5xx other than 503.
        """
        delivered = await self._client.post(_EVENTS_PATH, event, deadline, effect=self._effect, welcome=self._welcome)
        duplicate = delivered.answer.status == 409
        return Submitted(acceptance=Acceptance.DUPLICATE if duplicate else Acceptance.ACCEPTED, tries=delivered.tries)
