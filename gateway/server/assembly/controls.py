"""Builds, starts and stops what may refuse a call besides the policy: audit log, limits and kill switches.

Each is a link of the chain; `chain.py` puts them in order.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from gateway.actions.shared.watch_health import HealthWatch
from gateway.cache.client import RedisCache
from gateway.config import Config
from gateway.controls.kill_switches import KillSwitches
from gateway.controls.limit_sharing import LimitSharing
from gateway.controls.redis_switches import RedisSwitches
from gateway.controls.shared_limits import RedisLimits
from gateway.controls.switch_file import SwitchFile
from gateway.core.rights import CallLimits
from gateway.core.switches import Switch, Switches
from gateway.interceptors.audit import Audit
from gateway.interceptors.kill_switch import KillSwitch
from gateway.interceptors.limits import Limits
from gateway.interceptors.policy import METHODS, PolicyInForce
from gateway.keys.descriptions import KeyKind
from gateway.keys.own.keyring import Keyring
from gateway.resilience.clock import Clock
from gateway.resilience.limiter import Limiter
from gateway.resilience.supervision import SupervisedThread
from gateway.server.assembly.keys_used import KeysUsed
from gateway.server.assembly.stored_switches import build_stored_switches
from gateway.server.process.inherited import WorkerSeat
from gateway.store.database import Database
from gateway.telemetry.audit import AuditTrail
from gateway.telemetry.audit_file import AuditFile
from gateway.telemetry.audit_record import AuditRecord, Kind
from gateway.telemetry.metrics import Metrics

RELOAD_S = 0.25
"""How soon the limits of a reloaded policy are in force."""
UNNAMED = CallLimits(requests_per_s=50, concurrent=50)
"""The limits of certificates that the policy does not name. Their callers may only ask for health."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallControls:
    """The links of the chain, and what runs beside them."""

    trail: AuditTrail | None
    audit: Audit | None
    limits: Limits
    kill_switch: KillSwitch
    watch: KillSwitches
    sharing: LimitSharing | None
    limiters: tuple[Limiter, ...]
    policy: PolicyInForce
    keyring: Keyring
    audit_required: bool

    def may_deliver(self, tenant_id: str) -> bool:
        """Whether a tenant's durable events may be sent now. No call carries them, so no link of the chain decides."""
        if self.kill_switch.is_tenant_off(tenant_id):
            return False
        return not self.audit_required or self.trail is None or not self.trail.is_failing

    def delivered(self, tenant_id: str, events: int) -> None:
        """Record in the audit log that durable events were sent, with which key. Their callers are recorded before."""
        if self.trail is not None:
            facts = {
                "tenant": tenant_id,
                "events": events,
                "key_id": self.keyring.in_use(KeyKind.TENANT_HMAC, tenant_id),
            }
            self.trail.write(_record(Kind.DELIVERED, "", facts))

    def switched_off(self) -> list[Mapping[str, str]]:
        """Return what is switched off, for the admin port."""
        return [
            {
                "target": str(one.target),
                "since": datetime.fromtimestamp(one.at_ms / 1000, UTC).isoformat(timespec="milliseconds"),
                "reason": one.reason,
                "by": one.by,
            }
            for one in self.watch.switches.off
        ]

    async def follow_policy(self) -> None:
        """Put the limits of a reloaded policy in force, until cancelled."""
        seen = self.policy.callers
        while True:
            await asyncio.sleep(RELOAD_S)
            if self.policy.callers is not seen:
                seen = self.policy.callers
                for limiter in self.limiters:
                    limiter.reload()


def build_controls(
    config: Config,
    policy: PolicyInForce,
    keyring: Keyring,
    redis: RedisCache | None,
    database: Database,
    clock: Clock,
    metrics: Metrics,
    seat: WorkerSeat | None = None,
) -> CallControls:
    """Return the controls, not started yet."""
    workers = 1 if seat is None else seat.workers
    callers = Limiter("caller", lambda name: _caller_limits(policy, name), workers)
    tenants = Limiter("tenant", lambda name: policy.callers.tenant_limits(name), workers)
    limiters = (callers, tenants)
    trail = audit = None
    if config.audit is not None:
        file = AuditFile(config.audit.file, durable=config.audit.required)
        trail = AuditTrail(file, SupervisedThread, on_event=metrics.audited)
        audit = Audit(trail, required=config.audit.required, key_of=KeysUsed(config, keyring).of)
    kill_switch = KillSwitch(METHODS)

    def on_change(switches: Switches, fresh: Sequence[Switch]) -> None:
        kill_switch.take_over(switches)
        metrics.switched_off(Counter(one.target.kind.value for one in switches.off))
        for one in fresh:
            if trail is not None:
                trail.write(_switch_record(one))

    shared = sharing = None
    if redis is not None and config.redis is not None:
        keys, refused = config.redis.seal_keys, metrics.cache_looked_up
        shared = RedisSwitches(
            cache=redis, seal_keys=keys, clock=clock, on_event=lambda name: refused("switch", "refused")
        )
        replica = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        shared_limits = RedisLimits(
            cache=redis, seal_keys=keys, clock=clock, replica=replica, on_event=lambda name: refused("limit", "refused")
        )
        sharing = LimitSharing(limiters, shared_limits)
    return CallControls(
        trail=trail,
        audit=audit,
        limits=Limits(callers, tenants, clock),
        kill_switch=kill_switch,
        watch=KillSwitches(
            SwitchFile(config.data_dir, clock),
            shared,
            on_change,
            lambda name: metrics.cache_looked_up("switch", "refused"),
            stored=build_stored_switches(config, database, clock, lambda: metrics.cache_looked_up("switch", "refused")),
        ),
        sharing=sharing,
        limiters=limiters,
        policy=policy,
        keyring=keyring,
        audit_required=config.audit is not None and config.audit.required,
    )


def hold_services(controls: CallControls, health: HealthWatch) -> None:
    """Report NOT_SERVING for a service while a kill switch stops all of it."""
    controls.watch.add_listener(lambda: health.hold(controls.kill_switch.services_off()))


def _caller_limits(policy: PolicyInForce, name: str) -> CallLimits:
    grant = policy.callers.by_name.get(name)
    return UNNAMED if grant is None else grant.limits


def _switch_record(switch: Switch) -> AuditRecord:
    facts = {"target": str(switch.target), "state": "off" if switch.is_off else "on", "why": switch.reason}
    return _record(Kind.SWITCHED, switch.by, facts)


def _record(kind: Kind, caller: str, facts: Mapping[str, Any]) -> AuditRecord:
    """Return an audit record of something that is not a call."""
    return AuditRecord(
        kind=kind,
        at_ns=time.time_ns(),
        caller=caller,
        peer="",
        method="",
        request_id="",
        status="",
        reason="",
        verdict="",
        facts=facts,
    )
