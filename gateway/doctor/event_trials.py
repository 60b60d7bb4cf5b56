"""Sends trial events to a board and watches how they change scores. It sends each once, without retries.

Every trial has its own users, so that a score shows how often an event counted. Source: gamification.md 2.1, 2.2.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from gateway.core.types import TenantId
from gateway.core.wire import BulkEnvelope, Event, encode_bulk, encode_event
from gateway.doctor.phoenix_request import status_text
from gateway.errors import GatewayError
from gateway.phoenix.auth.authorize import Authorize
from gateway.phoenix.gamification.leaderboards import LeaderboardsClient
from gateway.phoenix.http_types import Answer, ExchangeFailed, Request, Sender
from gateway.resilience.clock import Clock
from gateway.resilience.deadline import Deadline

SINGLE_PATH = "/v1/events"
BULK_PATH = "/v1/events/bulk"
MARK = 1000
"""The score of the last event of a trial. Once it shows, Phoenix has had time to count the earlier events, and the rest
of the score shows how often they counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialSettings:
    """How long to wait. Scores follow an accepted event "within a few seconds"."""

    patience_s: float = 30.0
    """Longest wait for a score."""
    settle_s: float = 3.0
    """How long to wait after the last event has counted, because an earlier one may be late; at least twice as long
    as the slowest event so far took."""
    poll_every_s: float = 0.2
    request_s: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """The result of one request: its status, or None if no answer came."""

    status: int | None
    text: str
    """For the report: `202`, `400 VALIDATION`, or what went wrong."""

    @property
    def accepted(self) -> bool:
        """Whether it was a 2xx."""
        return self.status is not None and 200 <= self.status < 300


class EventTrials:
    """One tenant's trial events on one board."""

    def __init__(
        self,
        *,
        tenant_id: TenantId,
        board_id: str,
        base_url: str,
        authorize: Authorize,
        boards: LeaderboardsClient,
        sender: Sender,
        clock: Clock,
        settings: TrialSettings,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Send to the ingestion host `base_url`, read by `boards`."""
        self._tenant_id = tenant_id
        self._board_id = board_id
        self._base_url = base_url
        self._authorize = authorize
        self._boards = boards
        self._sender = sender
        self._clock = clock
        self._settings = settings
        self._pause = pause
        self._run = secrets.token_hex(4)
        self._users = 0
        self._slowest_s = 0.0

    def new_user(self) -> str:
        """Return a user that no other trial has, in this run or any other."""
        self._users += 1
        return f"prove-events-{self._run}-{self._users}"

    def event(self, user_id: str, score: int = 1, *, with_id: bool = True) -> bytes:
        """Return the body of a new event."""
        event_id = f"prove-events-{secrets.token_hex(12)}"
        event = Event(event_id=event_id, leaderboard_id=self._board_id, user_id=user_id, score_delta=score)
        return encode_event(event, self._tenant_id, send_event_id=with_id)

    async def send(self, event: bytes) -> Sent:
        """POST one event."""
        return await self._post(SINGLE_PATH, event)

    async def send_bulk(self, events: Sequence[bytes], envelope: BulkEnvelope) -> Sent:
        """POST several at once."""
        return await self._post(BULK_PATH, encode_bulk(events, envelope))

    async def wait_for(self, user_id: str, at_least: float, *, share: float = 1.0) -> float | None:
        """Wait until the user's score is at least this high; return the seconds it took, or None if it never was.

        Args: `share`: the share of the patience to wait for.
        """
        began = time.monotonic()
        wait_s = self._settings.poll_every_s
        until = Deadline.after(self._settings.patience_s * share, self._clock)
        while True:
            score = await self.score(user_id)
            if score is not None and score >= at_least:
                took_s = time.monotonic() - began
                self._slowest_s = max(self._slowest_s, took_s)
                return took_s
            if until.remaining() <= wait_s:
                return None
            await self._pause(wait_s)
            wait_s = min(wait_s * 1.5, 2.0)

    async def wait_for_all(self, user_ids: Sequence[str], at_least: float) -> list[float | None]:
        """Wait for several users at once; see `wait_for`."""
        return list(await asyncio.gather(*(self.wait_for(user_id, at_least) for user_id in user_ids)))

    async def counted(self, user_ids: Sequence[str], *, with_id: bool = True) -> list[int | None]:
        """Send a marking event for each user and wait for it; return how often each user's earlier event counted.

        None: the mark did not show, or these events cannot add up to the score.
        """
        for user_id in user_ids:
            await self.send(self.event(user_id, MARK, with_id=with_id))
        await self.wait_for_all(user_ids, MARK)
        await self._pause(max(self._settings.settle_s, 2 * self._slowest_s))
        scores = [await self.score(user_id) for user_id in user_ids]
        return [
            int(score) - MARK if score is not None and score.is_integer() and 0 <= score - MARK < MARK else None
            for score in scores
        ]

    async def score(self, user_id: str) -> float | None:
        """Return the user's score; None while there is none, or while it cannot be read."""
        deadline = Deadline.after(self._settings.request_s, self._clock)
        try:
            return (await self._boards.score(self._board_id, user_id, deadline)).score
        except GatewayError:
            return None

    async def _post(self, raw_path: str, body: bytes) -> Sent:
        request = Request(
            method="POST",
            url_base=self._base_url,
            raw_path=raw_path,
            headers={
                "accept": "application/json",
                "content-type": "application/json",
                **self._authorize("POST", raw_path, body),
            },
            body=body,
        )
        try:
            answer: Answer = await self._sender.send(request, Deadline.after(self._settings.request_s, self._clock))
        except ExchangeFailed as failure:
            return Sent(status=None, text=f"no answer: {failure}")
        return Sent(status=answer.status, text=status_text(answer))
