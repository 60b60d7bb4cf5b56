"""Lists the links that every call passes, in their order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.config import Config
from gateway.config.identities import check_dev_token
from gateway.interceptors.call_log import CallLog
from gateway.interceptors.call_metrics import CallMetrics
from gateway.interceptors.call_trace import CallTraces
from gateway.interceptors.chain import Chain
from gateway.interceptors.deadline import CallDeadline
from gateway.interceptors.identity import Identity
from gateway.interceptors.policy import Policy
from gateway.interceptors.validation import Validation
from gateway.keys.own.keyring import Keyring
from gateway.resilience.clock import Clock
from gateway.server.assembly.controls import CallControls
from gateway.server.assembly.keys_used import KeysUsed
from gateway.server.secret_watch import SecretWatch
from gateway.telemetry.call_stories import CallStories
from gateway.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from gateway.telemetry.tracing import Tracing


def asks_certificates(config: Config) -> bool:
    """Return whether the listener asks clients for a certificate."""
    return config.tls is not None and config.tls.client_ca_file is not None


def build_chain(
    config: Config,
    controls: CallControls,
    secrets: SecretWatch,
    keyring: Keyring,
    stories: CallStories,
    clock: Clock,
    metrics: Metrics,
    tracing: Tracing | None,
) -> Chain:
    """Return the chain. A call enters in this order and leaves in reverse. Raises: SecretRefused."""
    token = None if config.dev_token is None else secrets.follow(config.dev_token, check_dev_token)
    return Chain(
        [
            CallMetrics(metrics, clock),
            *([] if tracing is None else [CallTraces(tracing)]),
            CallLog(clock, stories=stories, sample=config.log_successes, key_of=KeysUsed(config, keyring).of),
            Identity(
                controls.policy,
                certificates_required=asks_certificates(config),
                trusted_proxies=config.trusted_proxies,
                dev_token=None if token is None else token.current,
            ),
            *([] if controls.audit is None else [controls.audit]),
            Policy(),
            controls.kill_switch,
            CallDeadline(clock),
            controls.limits,
            Validation(),
        ]
    )
