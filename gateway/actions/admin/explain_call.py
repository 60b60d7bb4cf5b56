"""Tells what happened to a call, a webhook, an event or a wallet operation, by an id that a person pasted.

It looks in the rings of this process and of the other workers, in Redis for those of other replicas, in the queue of
durable events and in the evidence. The answer names what was searched and how far back, so that an unknown id is not
taken for a call that did not happen.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from gateway.actions.admin.explain_advice import advice_for
from gateway.errors import GatewayError, PhoenixNotFound
from gateway.evidence.record import Evidence
from gateway.outbox.find import EventState
from gateway.resilience.clock import Clock
from gateway.resilience.deadline import Deadline

WITHIN_S = 2.0
MAX_ID_CHARS = 256
_STORABLE = re.compile(r"[\x21-\x7e]{1,256}")


class OwnStories(Protocol):
    """The rings of this process; `telemetry.call_stories.CallStories` is one."""

    def find(self, wanted: str) -> list[dict[str, Any]]:
        """Return the stories of this id, newest first."""
        ...

    def reach(self) -> dict[str, Any]:
        """Return what was searched."""
        ...


Find = Callable[[str], Awaitable[dict[str, Any] | None]]
Peers = Callable[[str], Awaitable[Sequence[Mapping[str, Any]]]]


class ExplainCall:
    """The action behind `explain`. It answers an operator of the gateway, so no grant restricts it."""

    def __init__(
        self,
        stories: OwnStories,
        clock: Clock,
        *,
        process: str,
        policy_row: Callable[[Mapping[str, Any]], Mapping[str, Any]],
        find_shared: Find | None = None,
        find_event: Callable[[str, Deadline], Awaitable[Sequence[EventState]]],
        find_operation: Callable[[str, Deadline], Awaitable[Evidence]],
    ) -> None:
        """Take what is searched.

        Args: `process`: names this process; `policy_row`: what the policy says of a story's call; `find_shared`: looks
        in Redis, and raises if it gives no answer.
        """
        self._stories = stories
        self._clock = clock
        self._process = process
        self._policy_row = policy_row
        self._find_shared = find_shared
        self._find_event = find_event
        self._find_operation = find_operation

    def here(self, wanted: str) -> dict[str, Any]:
        """Return what this process knows, for another worker."""
        found = [{**story, "process": self._process} for story in self._stories.find(wanted)]
        return {"stories": found, "searched": [{"where": f"process {self._process}", **self._stories.reach()}]}

    async def __call__(self, wanted: str, peers: Sequence[Mapping[str, Any]] | None = None) -> dict[str, Any]:
        """Return all that is known of the id. Args: `peers`: what each worker answered; None: there are none."""
        known = [self.here(wanted)] if peers is None else peers
        stories = [story for one in known for story in one["stories"]]
        searched = [place for one in known for place in one["searched"]]
        if self._find_shared is not None:
            searched.append(await self._shared(wanted, stories))
        stories.sort(key=lambda story: float(story["ended_at"]), reverse=True)
        for story in stories:
            story["policy"] = dict(self._policy_row(story))
            story["what_to_do"] = advice_for(story)
        report: dict[str, Any] = {"id": wanted, "stories": stories}
        deadline = Deadline.after(WITHIN_S, self._clock)
        if _STORABLE.fullmatch(wanted):
            report["durable_events"], where = await self._events(wanted, deadline)
            searched.append(where)
        operation_id = next((str(one["operation_id"]) for one in stories if one.get("operation_id")), wanted)
        report["operation"], where = await self._operation(operation_id, deadline)
        return {**report, "searched": [*searched, where]}

    async def _shared(self, wanted: str, stories: list[dict[str, Any]]) -> dict[str, Any]:
        """Add the story of another replica. Return what was searched."""
        assert self._find_shared is not None
        where = {
            "where": (
                "Redis: of all replicas, failures and refusals for an hour, successes for 15 minutes, as far as they"
                " had room"
            )
        }
        try:
            found = await self._find_shared(wanted)
        except Exception as error:  # noqa: BLE001 - without Redis there is less to tell, and the rest is told
            return {**where, "trouble": f"no answer ({type(error).__name__})"}
        if found is not None and not any(_is_same(found, one) for one in stories):
            stories.append(found)
        return where

    async def _events(self, event_id: str, deadline: Deadline) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        where = {"where": "durable events: queued ones, delivered ones for 24 hours, dead letters"}
        try:
            found = await self._find_event(event_id, deadline)
        except GatewayError as error:
            return [], {**where, "trouble": error.message}
        return [
            {
                "tenant": one.tenant_id,
                "state": one.state.name,
                "accepted_at": one.accepted_at_us / 1e6,
                "attempts": one.attempts,
                "may_have_reached_phoenix": one.first_sent_at_us is not None,
                "done_at": None if one.done_at_us is None else one.done_at_us / 1e6,
                "reason": one.reason,
                "due_at": None if one.due_at_us is None else one.due_at_us / 1e6,
                "ahead": one.ahead,
            }
            for one in found
        ], where

    async def _operation(self, operation_id: str, deadline: Deadline) -> tuple[dict[str, Any] | None, dict[str, Any]]:
        where = {"where": "evidence of wallet operations, by operation id"}
        try:
            found = await self._find_operation(operation_id, deadline)
        except PhoenixNotFound:
            return None, where
        except GatewayError as error:
            return None, {**where, "trouble": error.message}
        response = found.response
        return {
            "operation_id": found.operation_id,
            "operator": found.operator_code,
            "environment": found.environment.value,
            "operation": found.content.operation,
            "state": found.state.value,
            "received_at": found.received_at_us / 1e6,
            "attempt": found.attempt,
            "key_id": found.key_id,
            "webhook_request_id": found.request_id,
            "reply_status": None if response is None else response.status,
            "replays": found.replay_count,
            "conflicts": len(found.conflicts),
            "incidents": [one.reason.value for one in found.incidents],
            "suspect_replay": found.suspect_replay,
        }, where


def _is_same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two stories are of the same call: this process has what it has shown in Redis, too."""
    same_call = all(one.get(name) == other.get(name) for name in ("kind", "request_id", "process"))
    return same_call and abs(float(one["ended_at"]) - float(other["ended_at"])) < 1.0
