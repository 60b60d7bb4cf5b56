"""Concurrency and times of the delivery of durable events."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.phoenix.gamification.bulk import MAX_EVENTS
from gateway.resilience.retry import RetrySettings


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliverySettings:
    """Concurrency and times."""

    leases: int = 4
    """Concurrent leases: some are being sent while others are being committed."""
    calls: int = 4
    """Concurrent bulk calls, which hide the network latency to Phoenix."""
    ordering_keys: int = 4 * MAX_EVENTS
    """Maximum ordering keys of a lease with bulk calls: a commit costs as much as hundreds of rows."""
    single_keys: int = 64
    """The same without bulk calls."""
    lease_bytes: int = 4 << 20
    """Maximum bytes in a lease; its first event may be larger."""
    send_s: float = 8.0
    """Longest time of a send, and of a clean stop."""
    lease_s: float = 15.0
    """Time until another gateway takes over even if this one lives; longer than a send with its commit."""
    store_s: float = 5.0
    """Longest time of one transaction."""
    yield_s: float = 1.0
    """How long a lease lets callers go first. Then it is made all the same, so that no event waits for ever."""
    poll_s: float = 2.0
    """How often to check for events of other gateways. Each gateway delivers its own events first."""
    retry: RetrySettings = field(default_factory=lambda: RetrySettings(first_wait_s=0.5, longest_wait_s=30.0))
    """Waits between the attempts of an event, and between probes while Phoenix fails."""
