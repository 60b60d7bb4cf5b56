"""The parts of this replica that its services need, and how each is looked at. `own_parts.py` of actions decides.

Redis is not among them: calls go on without it. Neither is Phoenix, nor a kill switch (ADR 0039).
"""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.descriptor import ServiceDescriptor

from gateway.actions.shared.clock_watch import ClockWatch
from gateway.actions.shared.own_parts import Cause, Look, OwnPart, OwnParts
from gateway.config import Config
from gateway.core.ed25519 import SigningKey
from gateway.errors import StoreUnavailable
from gateway.evidence.durable import DurableWalletStore
from gateway.keys.own.keyring import Keyring
from gateway.resilience.clock import Clock
from gateway.resilience.deadline import Deadline
from gateway.resilience.descriptors import SPARE, lacks_descriptors
from gateway.server.assembly.controls import CallControls
from gateway.store.database import Database
from gateway.store.failures import OWN_FILES
from gateway.telemetry.logs import log_fault

_SIGN_FOR_TENANTS = frozenset({"EventService", "LeaderboardService", "LeaderboardAdminService"})
_SIGN_FOR_OPERATORS = frozenset({"TokenService", "OperatorService"})
_SIGN = _SIGN_FOR_TENANTS | _SIGN_FOR_OPERATORS | {"PhoenixService"}


def build_own_parts(
    config: Config,
    services: Iterable[ServiceDescriptor],
    database: Database,
    store: DurableWalletStore,
    keyring: Keyring,
    controls: CallControls,
    clock_watch: ClockWatch,
    clock: Clock,
) -> OwnParts:
    """Return all parts, not looked at yet."""
    names = {service.name: service.full_name for service in services}

    def among(wanted: Iterable[str]) -> frozenset[str]:
        return frozenset(names[name] for name in wanted if name in names)

    parts = [
        OwnPart(name="descriptors", look=_descriptors, services=among(names)),
        OwnPart(name="clock", look=clock_watch.look, services=among(_SIGN)),
        OwnPart(name="keys", look=_keys(config, keyring), services=among(_SIGN)),
        OwnPart(
            name="database",
            look=_database(database, store),
            services=among({"WalletService"}),
            is_needed=bool(config.operators),
        ),
        OwnPart(name="log", look=_log, services=frozenset(), is_needed=False),
    ]
    if controls.trail is not None:
        is_needed = controls.audit_required
        audited = among(names) if is_needed else frozenset[str]()
        parts.append(OwnPart(name="audit", look=_audit(controls), services=audited, is_needed=is_needed))
    return OwnParts(parts, clock)


async def _descriptors(deadline: Deadline) -> Cause | None:
    lack = lacks_descriptors(SPARE)
    if not lack:
        return None
    what, advice = OWN_FILES
    if lack == "ENFILE":
        what, advice = "this machine has no file descriptors left", "raise fs.file-max, or find the process that leaks"
    return Cause(part="descriptors", kind=lack, trouble=what, advice=advice)


def _keys(config: Config, keyring: Keyring) -> Look:
    async def look(deadline: Deadline) -> Cause | None:
        for tenant in config.tenants:
            keys = keyring.tenant(tenant.keys.tenant_id)
            for source, secret in ((tenant.keys.hmac, keys.hmac), (tenant.keys.api_key, keys.api_key)):
                if source is not None and secret is None:
                    return _unusable(source.setting)
        for operator in config.operators:
            source = operator.keys.signing_key
            key = keyring.operator(operator.keys.operator_code, operator.keys.environment).signing_key
            if source is not None and not (isinstance(key, SigningKey) and key.sign(b"readiness")):
                return _unusable(source.setting)
        return None

    return look


def _unusable(setting: str) -> Cause:
    advice = f"correct the key that {setting} names; phoenix-gateway keys list shows its versions"
    return Cause(part="keys", kind="unusable", trouble=f"the key of {setting} cannot be used", advice=advice)


def _database(database: Database, store: DurableWalletStore) -> Look:
    async def look(deadline: Deadline) -> Cause | None:
        try:
            await store.check(deadline)
        except StoreUnavailable as error:
            failure = database.failure
            if failure is None:
                return Cause(part="database", kind="unavailable", trouble=error.message, advice="wait; read its log")
            return Cause(
                part="database",
                kind=failure.cause,
                trouble=failure.what,
                advice=failure.advice,
                error=failure.error,
            )
        return None

    return look


def _audit(controls: CallControls) -> Look:
    async def look(deadline: Deadline) -> Cause | None:
        trail = controls.trail
        if trail is None or not trail.is_failing:
            return None
        return Cause(part="audit", kind=trail.fault, trouble=trail.trouble, advice=trail.advice)

    return look


async def _log(deadline: Deadline) -> Cause | None:
    fault = log_fault()
    if not fault:
        return None
    advice = "free some space on the disk of standard error, or look at its reader"
    return Cause(part="log", kind=fault, trouble="log lines are lost", advice=advice)
