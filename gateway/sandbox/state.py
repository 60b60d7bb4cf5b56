"""The whole state of one sandbox: tenants, event logs, operators, keys, faults, settings, clock and request log."""

import asyncio
import time
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.sandbox.events import EventLog
from gateway.sandbox.faults import FaultTable
from gateway.sandbox.options import OperatorIdentity, SandboxOptions, TenantIdentity
from gateway.sandbox.platform_keys import PlatformKeys
from gateway.sandbox.request_log import RequestLog
from gateway.sandbox.settings import Settings
from gateway.sandbox.signatures import load_private_key, load_public_key


class Tenant:
    """One tenant and the secrets that Phoenix accepts from it. There are several during a rotation."""

    def __init__(self, identity: TenantIdentity) -> None:
        self.tenant_id = identity.tenant_id
        self.admin_api_key_id = identity.admin_api_key_id
        self.hmac_secrets = [identity.hmac_secret]
        self.api_keys = [identity.admin_api_key]


class Operator:
    """One operator in one environment: identity, public keys, and the settings it may change.

    `public_keys` are the keys registered at Phoenix. `newest_pem` is the one that Phoenix publishes. `forgery_key`
    signs forged wallet calls: the operator's private key if it is known, otherwise a random key.
    """

    def __init__(self, identity: OperatorIdentity) -> None:
        self.identity = identity
        self.public_keys = [load_public_key(identity.public_key_pem)]
        self.newest_pem = identity.public_key_pem
        known = identity.private_key_pem
        self.forgery_key = load_private_key(known) if known else Ed25519PrivateKey.generate()
        self.fee_schedule: dict[str, Any] | None = None
        self.currencies = list(identity.currencies)


class SandboxState:
    """The state that all surfaces share. Use it only on the event loop."""

    def __init__(self, options: SandboxOptions) -> None:
        self.options = options
        self.keys = PlatformKeys(options.platform_key_pem)
        self._start()

    def _start(self) -> None:
        self.settings = Settings()
        self.faults = FaultTable()
        self.request_log = RequestLog()
        self.clock_offset_s = 0.0
        self.tenants: dict[str, Tenant] = {each.tenant_id: Tenant(each) for each in self.options.tenants}
        self.logs: dict[str, EventLog] = {tenant: EventLog(tenant) for tenant in self.tenants}
        self.operators: dict[tuple[str, str], Operator] = {
            (each.operator_code, each.environment): Operator(each) for each in self.options.operators
        }
        self.hang_released = asyncio.Event()

    def reset(self, *, keys: bool) -> None:
        """Restore the state of the start and end hanging calls. `keys` also replaces the platform key."""
        hang_released = self.hang_released
        self._start()
        hang_released.set()
        self.keys.fetches.clear()
        if keys:
            self.keys = PlatformKeys()

    def now(self) -> float:
        """Return the sandbox's time in Unix seconds, with the clock offset."""
        return time.time() + self.clock_offset_s

    def operator_by_code(self, code: str) -> Operator | None:
        """Return the operator with this code. The sandbox environment comes before prod."""
        return self.operators.get((code, "sandbox")) or self.operators.get((code, "prod"))
