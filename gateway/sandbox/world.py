"""All that one sandbox holds: tenants with their logs, operators, keys, faults, settings, clock, record.

One object, passed to every surface; `reset` makes it new. It serves nothing itself.
"""

import asyncio
import time
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.sandbox.checks import load_private_key, load_public_key
from gateway.sandbox.events import EventLog
from gateway.sandbox.faults import FaultTable
from gateway.sandbox.options import OperatorIdentity, SandboxOptions, TenantIdentity
from gateway.sandbox.platform_keys import PlatformKeys
from gateway.sandbox.record import Record
from gateway.sandbox.settings import Settings


class Tenant:
    """One tenant and the secrets that Phoenix takes from it now: several while one is being replaced."""

    def __init__(self, identity: TenantIdentity) -> None:
        self.tenant_id = identity.tenant_id
        self.admin_api_key_id = identity.admin_api_key_id
        self.hmac_secrets = [identity.hmac_secret]
        self.api_keys = [identity.admin_api_key]


class Operator:
    """One operator in one environment: identity, public keys, and the settings it may change.

    `public_keys`: those that Phoenix has registered now; `newest_pem`: the one that it shows. `forger` signs wallet
    calls that are forged with the operator's key; a stranger's key where the private half is not known here.
    """

    def __init__(self, identity: OperatorIdentity) -> None:
        self.identity = identity
        self.public_keys = [load_public_key(identity.public_key_pem)]
        self.newest_pem = identity.public_key_pem
        known = identity.private_key_pem
        self.forger = load_private_key(known) if known else Ed25519PrivateKey.generate()
        self.fee_schedule: dict[str, Any] | None = None
        self.currencies = list(identity.currencies)


class World:
    """The whole state of a sandbox process; touched only from its event loop."""

    def __init__(self, options: SandboxOptions) -> None:
        self.options = options
        self.keys = PlatformKeys(options.platform_key_pem)
        self._start()

    def _start(self) -> None:
        self.settings = Settings()
        self.faults = FaultTable()
        self.record = Record()
        self.clock_offset_s = 0.0
        self.tenants: dict[str, Tenant] = {each.tenant_id: Tenant(each) for each in self.options.tenants}
        self.logs: dict[str, EventLog] = {tenant: EventLog(tenant) for tenant in self.tenants}
        self.operators: dict[tuple[str, str], Operator] = {
            (each.operator_code, each.environment): Operator(each) for each in self.options.operators
        }
        self.released = asyncio.Event()

    def reset(self, *, keys: bool) -> None:
        """Forget everything but the identities; a call that hangs is cut. The platform key stays unless `keys`."""
        released = self.released
        self._start()
        released.set()
        self.keys.fetches.clear()
        if keys:
            self.keys = PlatformKeys()

    def now(self) -> float:
        """Return the time as this Phoenix believes it to be, Unix seconds."""
        return time.time() + self.clock_offset_s

    def operator_by_code(self, code: str) -> Operator | None:
        """Return the operator of a code, the sandbox environment first where it has both."""
        return self.operators.get((code, "sandbox")) or self.operators.get((code, "prod"))
