"""A signed webhook that the gateway could not read, and what a person decided about it."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.core.types import Environment, HexStr, KeyId, OperatorCode
from gateway.core.wallet_operation import OperationKind
from gateway.evidence.record import RecordedResponse


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadableCall:
    """A signed webhook that could not be read. `idempotency_key` "": none, or none that can be stored.

    `route` None: the path or method is unknown. `trouble` is a fixed text that quotes nothing.
    """

    operator_code: OperatorCode
    environment: Environment
    idempotency_key: str
    body_sha256: HexStr
    body: bytes = field(repr=False)
    route: OperationKind | None
    trouble: str
    signature: str = field(repr=False)
    key_id: KeyId
    request_id: str
    received_at_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """What a person decided that Phoenix is answered, and why."""

    response: RecordedResponse
    note: str
    caller: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadableWebhook:
    """A stored webhook. `settlement` None: it waits for a person."""

    webhook_id: str
    call: UnreadableCall
    last_received_at_us: int
    count: int
    settlement: Settlement | None


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadablePage:
    """Webhooks by their first arrival. `after`: where the next page begins; None: this is the last one."""

    webhooks: tuple[UnreadableWebhook, ...]
    after: int | None
