"""What explains calls: the rings of this process and its group, Redis, the queue of durable events, the evidence."""

from __future__ import annotations

import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from gateway.actions.admin.explain_call import ExplainCall
from gateway.cache.client import RedisCache
from gateway.cache.shared_stories import SharedStories
from gateway.config import Config
from gateway.evidence.durable import DurableWalletStore
from gateway.front.worker_peers import WorkerPeers
from gateway.interceptors.access import method_access
from gateway.interceptors.policy import METHODS, PolicyInForce
from gateway.outbox.store import EventQueue
from gateway.resilience.clock import Clock
from gateway.server.process.inherited import WorkerSeat
from gateway.telemetry.call_stories import CallStories

Explain = Callable[[str], Awaitable[Mapping[str, Any]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Explaining:
    """`explain` answers for the group and its stores, `explain_here` for this process alone, for another worker.

    `shared` shows stories to other replicas; None without Redis.
    """

    explain: Explain
    explain_here: Explain
    shared: SharedStories | None


def build_explain(
    config: Config,
    stories: CallStories,
    queue: EventQueue,
    store: DurableWalletStore,
    redis: RedisCache | None,
    clock: Clock,
    seat: WorkerSeat | None,
    policy: PolicyInForce,
) -> Explaining:
    """Return what explains calls, not started yet."""
    process = f"{socket.gethostname()}/{os.getpid()}"
    shared = None
    if redis is not None and config.redis is not None:
        shared = SharedStories(
            cache=redis,
            seal_keys=config.redis.seal_keys,
            clock=clock,
            take=stories.take_unshared,
            process=process,
        )
    action = ExplainCall(
        stories,
        clock,
        process=process,
        policy_row=partial(_policy_row, policy),
        find_shared=None if shared is None else shared.find,
        find_event=queue.find,
        find_operation=store.evidence_by_id,
    )
    peers = None if seat is None else WorkerPeers(seat.folder)

    async def explain(wanted: str) -> Mapping[str, Any]:
        return await action(wanted, None if peers is None else await peers.explain(wanted))

    async def explain_here(wanted: str) -> Mapping[str, Any]:
        return action.here(wanted)

    return Explaining(explain=explain, explain_here=explain_here, shared=shared)


def _policy_row(policy: PolicyInForce, story: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the right that the method needs, whose data it is about, its longest time in seconds, and the limits.

    The limits are those of the caller now, or of the tenant or operator environment if its limit refused the call.
    """
    method = str(story.get("method", ""))
    access, row = method_access().get(method), METHODS.get(method)
    if access is None or row is None:
        return {}
    found = {"right": access.right, "scope": access.scope.name.lower(), "timeout_s": row.timeout_s}
    if story.get("whose") == "tenant":
        name = story.get("tenant") or f"{story.get('operator')}/{story.get('environment')}"
        return {**found, "limits": asdict(policy.callers.tenant_limits(str(name)))}
    grant = policy.callers.by_name.get(str(story.get("caller")))
    return found if grant is None else {**found, "limits": asdict(grant.limits)}
