"""Our own keys, and what the admin port publishes of them."""

from __future__ import annotations

from gateway.config import Config
from gateway.front.published_keys import PublishedKeys
from gateway.keys.descriptions import KeyState
from gateway.keys.own.keyring import Keyring
from gateway.phoenix.auth.credential_trial import CredentialTrial
from gateway.phoenix.http_types import Sender
from gateway.resilience.clock import Clock
from gateway.server.assembly.key_trials import KeyTrials
from gateway.telemetry.metrics import Metrics


def build_keyring(config: Config, sender: Sender, clock: Clock, metrics: Metrics) -> Keyring:
    """Load our own keys; new versions are tried at Phoenix before they are used. Raises: KeyringRefused."""
    trial = KeyTrials(
        CredentialTrial(sender, clock),
        clock,
        {one.keys.tenant_id: one for one in config.tenants},
        {(one.keys.operator_code, one.keys.environment): one for one in config.operators},
    )
    keyring = Keyring(
        tenants=[tenant.keys for tenant in config.tenants],
        operators=[operator.keys for operator in config.operators],
        clock=clock,
        on_event=metrics.key_event,
        trial=trial,
        token_backdate_s=config.token_backdate_s,
        seal_keys=None if config.redis is None else (config.redis.seal_keys, config.redis.seal_source),
    )
    metrics.dates.follow_keys(lambda: _active_since(keyring))
    return keyring


def _active_since(keyring: Keyring) -> dict[str, float]:
    """Return since when the oldest active key of each kind is in use, in Unix seconds."""
    since: dict[str, float] = {}
    for one in keyring.describe():
        if one.state is KeyState.ACTIVE:
            since[one.kind.value] = min(one.activated_at, since.get(one.kind.value, one.activated_at))
    return since


def published_keys(config: Config, keyring: Keyring) -> PublishedKeys:
    """Return the page of public keys."""
    lead_s = min((one.keys.lead_s for one in config.operators), default=0.0)
    return PublishedKeys(keyring.published, lead_s=lead_s)
