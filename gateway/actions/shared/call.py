"""One call as actions, servicers and the chain see it: its caller, its deadline and its record.

Knows nothing of grpc, so that another front can serve the same handlers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.actions.shared.call_record import CallRecord
from gateway.core.rights import DENY_ALL, Grant
from gateway.resilience.deadline import Deadline
from gateway.telemetry.spans import CallTrace


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """The other end of the connection.

    `names`: the identities of a verified client certificate, its SPIFFE id first, then its DNS names in their order;
    empty without a certificate. `address`: the transport's text, such as `ipv4:127.0.0.1:4711`. `caller`: the caller
    whose Unix socket the call used; empty for other listeners.
    """

    address: str
    names: tuple[str, ...] = ()
    caller: str = ""


@dataclass(slots=True, kw_only=True)
class Call:
    """One call on its way through the chain.

    `deadline` starts as the caller's own; the chain shortens it. `waits_until` stays the caller's own; like
    `arrived_at`, it is in seconds of the monotonic clock.
    `caller` is empty and `grant` allows nothing until the caller is identified. `record` is what the gateway
    records of the call.
    """

    method: str
    peer: Peer
    request_id: str
    deadline: Deadline
    arrived_at: float
    waits_until: float = math.inf
    metadata: Mapping[str, str] = field(default_factory=dict)
    caller: str = ""
    grant: Grant = DENY_ALL
    record: CallRecord = field(default_factory=CallRecord)
    audited: bool = False
    """Whether the audit log already contains how the call ended."""
    trace: CallTrace | None = None
    """The trace that the call belongs to; None for most calls, and for all if traces are off."""
