"""The trial of a new key at Phoenix before it takes over: when it is made, and its protocol. phoenix/auth sends it."""

from __future__ import annotations

from typing import Protocol

from gateway.core.key_trial import TrialResult
from gateway.core.types import Environment, OperatorCode, TenantId
from gateway.keys.descriptions import KeyKind
from gateway.keys.own.signing import SigningKeys

RETRY_DUE_S = 3.0
"""Between two trials of a key that is due: Phoenix may register it soon."""
RETRY_EARLY_S = 30.0
"""Between two trials of a key that is not due yet: only for the note in ListKeys."""
UNTRIED_AFTER_S = 60.0
"""If Phoenix gives no answer to the trial, a key is used without one this long after its activation time. The trials
continue, and the previous key is used again if Phoenix refuses the new one."""
EARLY_TAKEOVER_S = 60.0
"""A key without a lead time may take over this long before its activation time if Phoenix rejects the current key."""
TRIAL_ROUND_EVERY_S = 1.0
"""Shortest time between two rounds of trials that rejected requests cause."""


class Trial(Protocol):
    """Tries a key at Phoenix with a request that changes nothing."""

    async def tenant(
        self, tenant_id: TenantId, kind: KeyKind, candidate: SigningKeys, current: SigningKeys
    ) -> TrialResult:
        """Try a tenant's secret. `candidate` signs with the new version, `current` with the old one. Never raises."""

    async def operator(
        self, operator_code: OperatorCode, environment: Environment, candidate: SigningKeys, current: SigningKeys
    ) -> TrialResult:
        """Try an operator's signing key. Never raises."""
