"""A keyring over folders of keys, and a Phoenix that accepts or refuses them."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

from gateway.core.ed25519 import generate_signing_key
from gateway.core.key_trial import TrialResult
from gateway.core.types import Environment, KeyId, OperatorCode, TenantId
from gateway.keys.descriptions import KeyDescription, KeyKind
from gateway.keys.own.keyring import Keyring, OperatorEntry, TenantEntry
from gateway.keys.own.signing import SigningKeys
from gateway.keys.sources.secret_files import SecretSource
from gateway.keys.sources.version_files import name_for
from tests.manual_clock import ManualClock

TENANT, OPERATOR, SANDBOX = TenantId("tenant"), OperatorCode("acme"), Environment.SANDBOX
LEAD_S, RETIRE_S = 300.0, 3900.0


class Phoenix:
    """Accepts the given secrets. If `answers` is False, it does not answer."""

    def __init__(self) -> None:
        self.takes: set[bytes] = set()
        self.answers = True
        self.asked = 0

    async def tenant(
        self, tenant_id: TenantId, kind: KeyKind, candidate: SigningKeys, current: SigningKeys
    ) -> TrialResult:
        self.asked += 1
        if not self.answers:
            return TrialResult.UNANSWERED
        secret = candidate.tenant(tenant_id).hmac
        assert secret is not None
        return TrialResult.ACCEPTED if secret.reveal() in self.takes else TrialResult.REFUSED

    async def operator(
        self, operator_code: OperatorCode, environment: Environment, candidate: SigningKeys, current: SigningKeys
    ) -> TrialResult:
        return TrialResult.UNPROVEN


class Bench:
    """A keyring over folders, on a clock that begins now: files have real times."""

    def __init__(self, directory: Path, phoenix: Phoenix | None = None) -> None:
        self.hmac, self.launch = directory / "hmac", directory / "launch"
        self.clock = ManualClock(now=time.time())
        self.events: Counter[str] = Counter()
        self.phoenix = phoenix
        self.hmac.mkdir(exist_ok=True)
        self.launch.mkdir(exist_ok=True)

    def begin(self) -> Keyring:
        """A process: the first one, or another that begins later."""
        self.keyring = Keyring(
            tenants=[TenantEntry(tenant_id=TENANT, hmac=SecretSource(setting="HMAC_FILE", path=self.hmac))],
            operators=[
                OperatorEntry(
                    operator_code=OPERATOR,
                    environment=SANDBOX,
                    signing_key=SecretSource(setting="LAUNCH_FILE", path=self.launch),
                    lead_s=LEAD_S,
                    retire_s=RETIRE_S,
                )
            ],
            clock=self.clock,
            on_event=lambda name: self.events.update([name]),
            trial=self.phoenix,
        )
        return self.keyring

    def add_hmac(self, content: bytes, after_s: float = 0.0) -> Path:
        return write(self.hmac / name_for(self.clock.now() + after_s, ""), content)

    def add_launch_key(self, after_s: float = 0.0) -> KeyId:
        key, pem = generate_signing_key()
        write(self.launch / name_for(self.clock.now() + after_s, ".pem"), pem)
        return key.key_id

    def look_for(self, seconds: float) -> None:
        """Advance the clock and check, twice at the end: a new file must be unchanged between two checks."""
        self.clock.advance(seconds)
        for _ in range(2):
            self.keyring.check_files()

    def hmac_now(self) -> bytes:
        secret = self.keyring.tenant(TENANT).hmac
        assert secret is not None
        return secret.reveal()

    def launch_now(self) -> KeyId:
        key = self.keyring.operator(OPERATOR, SANDBOX).signing_key
        assert key is not None
        return key.key_id

    def rows(self, kind: KeyKind) -> list[KeyDescription]:
        return [row for row in self.keyring.describe() if row.kind is kind]

    def published(self) -> set[KeyId]:
        return {one.key.key_id for one in self.keyring.published()}


def write(path: Path, content: bytes, mode: int = 0o600) -> Path:
    path.touch(mode=0o600)
    path.write_bytes(content)
    path.chmod(mode)
    return path
