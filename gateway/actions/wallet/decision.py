"""A wallet webhook as it came, and what the gateway decides on it."""

from __future__ import annotations

from typing import NamedTuple

from gateway.actions.shared.contexts import OperatorContext
from gateway.core.types import KeyId
from gateway.core.wallet import Disposition, Operation, OperationKind, OriginalState, Reply, Verdict, reply_for
from gateway.evidence.record import RecordedResponse


class Webhook(NamedTuple):
    """A webhook exactly as received. `headers`: name and value pairs, with repeated names.

    `route` None: the path tells the route. Set, the path is not looked at.
    """

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    raw_body: bytes
    route: OperationKind | None = None


class Decision(NamedTuple):
    """The result of verification. `reply` is set whenever the wallet must not act."""

    verdict: Verdict
    body_sha256: str
    reply: Reply | None = None
    key_id: KeyId | None = None
    operation: Operation | None = None
    disposition: Disposition | None = None
    operation_id: str = ""
    attempt: int = 0
    lease_expires_at_us: int | None = None
    recorded: RecordedResponse | None = None
    original_state: OriginalState | None = None
    suspect_replay: bool = False
    probed_before: bool = False
    settled: bool = False
    """Whether an unreadable webhook gets the answer that a person settled."""


def refused(context: OperatorContext, verdict: Verdict, body_sha256: str, key_id: KeyId | None = None) -> Decision:
    """Return the decision for a verdict other than VERIFIED."""
    return Decision(verdict=verdict, body_sha256=body_sha256, reply=reply_for(verdict, context.wallet), key_id=key_id)
