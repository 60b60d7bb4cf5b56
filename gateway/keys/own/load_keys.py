"""Load all of our own keys at the start, from files, settings and stores. Every fault is found before it ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from gateway.core.sealing import SealKeys
from gateway.core.secret import Secret
from gateway.core.types import Environment, OperatorCode, TenantId
from gateway.keys.descriptions import KeyKind
from gateway.keys.own import managed_key
from gateway.keys.own.entries import KeyFault, KeyringRefused, OperatorEntry, TenantEntry
from gateway.keys.own.managed_key import Loaded, ManagedKey
from gateway.keys.own.signer_versions import SignerVersions
from gateway.keys.own.versions import RotationPolicy
from gateway.keys.signers.signing_queue import LaunchKey, SigningQueue
from gateway.keys.sources.secret_files import SecretSource
from gateway.keys.sources.store_failure import StoreFailed
from gateway.resilience.clock import Clock

KEY_REFERENCE = "PREDICTION_LAUNCH_KEY_REF"


@dataclass(slots=True, kw_only=True)
class LoadedKeys:
    """The keys by what they are for. `stored`: those of `signing` that stay in a store."""

    secrets: dict[tuple[TenantId, KeyKind], ManagedKey[Secret]] = field(default_factory=dict)
    signing: dict[tuple[OperatorCode, Environment], ManagedKey[LaunchKey]] = field(default_factory=dict)
    stored: dict[tuple[OperatorCode, Environment], SignerVersions] = field(default_factory=dict)
    seals: ManagedKey[SealKeys] | None = None


def load_keys(
    tenants: Sequence[TenantEntry],
    operators: Sequence[OperatorEntry],
    seals: SecretSource | None,
    clock: Clock,
    *,
    tried: bool,
    on_event: Callable[[str], None],
) -> LoadedKeys:
    """Load every key. Args: `tried`: new keys are tried at Phoenix. Raises: KeyringRefused with every fault."""
    now, faults, keys = clock.now(), list[KeyFault](), LoadedKeys()
    policy = RotationPolicy(tried=tried)
    for tenant in tenants:
        for kind, source, load in (
            (KeyKind.TENANT_HMAC, tenant.hmac, managed_key.load_hmac),
            (KeyKind.ADMIN_API_KEY, tenant.api_key, managed_key.load_api_key),
        ):
            loaded = managed_key.or_fault(source, partial(load, now=now, policy=policy), faults)
            if loaded is not None:
                keys.secrets[tenant.tenant_id, kind] = ManagedKey(kind=kind, loaded=loaded, owner=tenant.tenant_id)
    for one in operators:
        rules = replace(policy, lead_s=one.lead_s, retire_s=one.retire_s)
        named = (one.operator_code, one.environment)
        signing = _load_signing(one, rules, clock, now, faults, on_event)
        if isinstance(signing, SignerVersions):
            keys.stored[named] = signing
        if signing is not None:
            keys.signing[named] = ManagedKey(
                kind=KeyKind.OPERATOR, loaded=signing, owner=one.operator_code, environment=one.environment
            )
    found = managed_key.or_fault(seals, partial(managed_key.load_seal_keys, now=now), faults)
    keys.seals = None if found is None else ManagedKey(kind=KeyKind.CACHE_SEAL, loaded=found)
    if faults:
        raise KeyringRefused(faults)
    return keys


def _load_signing(
    one: OperatorEntry,
    rules: RotationPolicy,
    clock: Clock,
    now: float,
    faults: list[KeyFault],
    on_event: Callable[[str], None],
) -> Loaded[Any] | None:
    """Load a launch key, or ask its store for its versions. If it cannot be used, add a fault and return None."""
    store = one.key_store
    if store is None:
        load = partial(managed_key.load_operator_key, now=now, policy=rules)
        return managed_key.or_fault(one.signing_key, load, faults)
    try:
        return SignerVersions(store, SigningQueue(store, clock, on_event=on_event), now, rules)
    except StoreFailed as failure:
        faults.append(KeyFault(setting=KEY_REFERENCE, description=f"{store.reference}: {failure}"))
        return None
