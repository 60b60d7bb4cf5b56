"""Send the events of one lease to Phoenix, and decide what becomes of each: delivered, tried again later, or given up.

delivery.py leases the events and records the results.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway.outbox.delivery_result import RESEND_WITHIN_US, Window, delivery_result_of, given_up
from gateway.outbox.delivery_settings import DeliverySettings
from gateway.outbox.lease_deadline import LeaseDeadline
from gateway.outbox.phoenix_health import PhoenixHealth, was_given_back
from gateway.outbox.record import Settled, Taken, TakenEvent
from gateway.phoenix.gamification.batch_sender import BatchSender
from gateway.phoenix.gamification.event_sender import EventSender, Sending
from gateway.phoenix.gamification.events import EventsClient
from gateway.phoenix.gamification.pending_event import PendingEvent, Result
from gateway.resilience.clock import Clock
from gateway.resilience.deadline import Deadline
from gateway.resilience.retry import wait_s

_US = 1_000_000


class LeaseSender:
    """Sends what one tenant's leases hold."""

    def __init__(
        self,
        client: EventsClient,
        events: EventSender,
        phoenix: PhoenixHealth,
        clock: Clock,
        *,
        random: Callable[[], float],
        settings: DeliverySettings,
        may_begin: Callable[[int], bool],
    ) -> None:
        """Args: `phoenix` learns the results. `may_begin`: whether a request under this lease may leave now."""
        self._client = client
        self._phoenix = phoenix
        self._clock = clock
        self._random = random
        self._settings = settings
        self._may_begin = may_begin
        self._batches = BatchSender(events, calls=settings.calls)

    async def send(self, lease_id: int, taken: Taken, began_at: float) -> list[Settled]:
        """Send the events of a lease, and return what becomes of each.

        Args: `began_at`: when the lease was requested, monotonic.
        """
        outcomes: list[Settled] = []
        groups: dict[bool, list[TakenEvent]] = {False: [], True: []}
        window = Window(deduplicates=self._client.deduplicates, now_us=taken.now_us)
        for event in taken.events:
            first = event.first_sent_at_us
            if first is None:
                groups[False].append(event)
            elif window.is_open_for(first, _US):
                groups[True].append(event)
            else:
                outcomes.append(given_up(event, None, first))
        results: list[tuple[TakenEvent, Result]] = []
        for in_doubt, events in groups.items():
            if not events:
                continue
            send_s = self._settings.send_s
            if in_doubt:
                first_us = min(event.first_sent_at_us or 0 for event in events)
                send_s = min(send_s, (RESEND_WITHIN_US - (taken.now_us - first_us)) / _US)
            deadline = LeaseDeadline(at=began_at + send_s, clock=self._clock, holds=lambda: self._may_begin(lease_id))
            results += await self._send_group(events, deadline)
        now = Window(
            deduplicates=window.deduplicates,
            now_us=taken.now_us + round((self._clock.monotonic() - began_at) * _US),
        )
        wait_at_least_s = self._phoenix.record([result for _, result in results])
        for event, result in results:
            wait = wait_at_least_s + wait_s(event.attempts, self._settings.retry, self._random)
            if was_given_back(result):
                wait = 0.0
            outcomes.append(
                delivery_result_of(event, result, now, marked_at_us=taken.now_us, wait_us=round(wait * _US))
            )
        return outcomes

    async def _send_group(self, events: Sequence[TakenEvent], deadline: Deadline) -> list[tuple[TakenEvent, Result]]:
        sending = Sending(
            [
                PendingEvent(
                    event.event_id,
                    event.body,
                    (event.leaderboard_id, event.user_id),
                    is_id_given=event.is_id_given,
                    in_doubt=event.first_sent_at_us is not None,
                )
                for event in events
            ]
        )
        await self._batches.send(sending, deadline)
        return list(zip(events, sending.results(), strict=True))
