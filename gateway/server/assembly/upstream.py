"""The way to Phoenix: one transport for all hosts, and what is wrapped around it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.keys.own.keyring import Keyring
from gateway.phoenix.answers import Surface
from gateway.phoenix.auth.on_unauthorized import UnauthorizedObserver
from gateway.phoenix.host_log import HostLog
from gateway.phoenix.http_types import Sender
from gateway.phoenix.retry import RetryingSender
from gateway.phoenix.transport import Transport
from gateway.resilience.clock import Clock
from gateway.resilience.retry_budget import RetryBudget
from gateway.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """Three ways to send: `transport` once; `sender` once, reporting a 401 to the key ring; `retrying` with retries.

    `budgets`: bound the retries of all that send to a surface. `hosts`: logs which hosts do not answer.
    """

    transport: Transport
    sender: Sender
    retrying: RetryingSender
    budgets: Mapping[Surface, RetryBudget]
    hosts: HostLog


def build_upstream(transport: Transport, keyring: Keyring, clock: Clock, metrics: Metrics) -> Upstream:
    """Return the ways to send. The key ring needs `transport` itself, to try new keys."""
    sender = UnauthorizedObserver(transport, keyring, clock)
    budgets = {surface: RetryBudget() for surface in Surface}
    hosts = HostLog(clock)
    return Upstream(
        transport=transport,
        sender=sender,
        retrying=RetryingSender(sender=sender, clock=clock, observer=metrics, budgets=budgets, hosts=hosts),
        budgets=budgets,
        hosts=hosts,
    )
