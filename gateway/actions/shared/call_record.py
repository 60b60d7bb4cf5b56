"""What the gateway records of one call: the log line, the audit record, metrics and kill switches read it.

Each field is set where its value is first known; tests/contracts/test_call_record.py lists the modules. A field holds
a name, a count or a verdict, never a payload, a token or a secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.actions.shared.failure import Failure
from gateway.core.wallet import Disposition, HeaderAnomaly, Verdict


@dataclass(slots=True, kw_only=True)
class WalletRecord:
    """The part of a wallet call. None, False or empty: not known, or not applicable."""

    webhook_request_id: str = ""
    odd_headers: tuple[HeaderAnomaly, ...] = ()
    provider: str = ""
    verdict: Verdict | None = None
    disposition: Disposition | None = None
    operation_id: str = ""
    attempt: int | None = None
    probed_before: bool = False
    suspect_replay: bool = False
    reply_status: int | None = None
    """The HTTP status that the wallet was told to answer; None: it answers by itself."""
    settled: bool = False
    """Whether an unreadable webhook got the answer that a person settled."""

    def write_to(self, fields: dict[str, Any]) -> None:
        """Add what is known, as text."""
        if self.webhook_request_id:
            fields["webhook_request_id"] = self.webhook_request_id
        if self.odd_headers:
            fields["odd_headers"] = " ".join(sorted(one.value for one in self.odd_headers))
        if self.provider:
            fields["provider"] = self.provider
        if self.verdict is not None:
            fields["verdict"] = self.verdict.value
        if self.disposition is not None:
            fields["disposition"] = self.disposition.value
        if self.reply_status is not None:
            fields["reply_status"] = self.reply_status
        if self.operation_id:
            fields["operation_id"] = self.operation_id
        if self.attempt is not None:
            fields["attempt"] = str(self.attempt)
        if self.probed_before:
            fields["probed_before"] = "true"
        if self.suspect_replay:
            fields["suspect_replay"] = "true"
        if self.settled:
            fields["settled"] = "true"


class CallRecord:
    """The record of one call. None: not known, or not applicable.

    A class by hand: the `__init__` of a dataclass takes three times as long, and each call makes a record.
    """

    __slots__ = (
        "claims_sha256", "count", "delivery", "environment", "error", "events", "failed", "failure", "key_id", "kind",
        "operator", "path", "source", "surface", "tenant", "wallet",
    )  # fmt: skip

    tenant: str | None
    """The last tenant that the call named, even if refused; so are `operator` and `environment`."""
    operator: str | None
    environment: str | None
    """The value of `core.types.Environment`."""
    key_id: str | None
    """The version of the key that the call used."""
    events: int | None
    """How many events the call contained so far."""
    failed: int | None
    """How many of them were not accepted."""
    failure: Failure | None
    """Why the first of these was not."""
    source: str | None
    """Where a board came from, as `Source` says it; None for a batch."""
    delivery: str | None
    """`durable` for events that are answered once they are stored."""
    claims_sha256: str | None
    """The digest of the claims of the tokens that were minted."""
    count: int | None
    """How many tokens were minted, or dead letters queued again."""
    wallet: WalletRecord | None
    kind: str | None
    """`set_fee_schedule` or `clear_fee_schedule`."""
    surface: str | None
    path: str | None
    """The policy's pattern that opens the path; the path itself may contain a player's id."""
    error: Mapping[str, str] | None
    """An unexpected error, as `telemetry.logs.where_raised` describes it."""

    def __init__(self) -> None:
        self.tenant = self.operator = self.environment = self.key_id = self.claims_sha256 = self.delivery = None
        self.events = self.count = self.wallet = self.kind = self.surface = self.path = self.error = None
        self.failed = self.failure = self.source = None

    def write_to(self, fields: dict[str, Any]) -> None:
        """Add what is known, as text."""
        if self.tenant is not None:
            fields["tenant"] = self.tenant
        if self.operator is not None:
            fields["operator"] = self.operator
        if self.environment is not None:
            fields["environment"] = self.environment
        if self.key_id is not None:
            fields["key_id"] = self.key_id
        if self.events is not None:
            fields["events"] = str(self.events)
        if self.failed is not None:
            fields["failed"] = self.failed
        if self.source is not None:
            fields["source"] = self.source
        if self.delivery is not None:
            fields["delivery"] = self.delivery
        if self.claims_sha256 is not None:
            fields["claims_sha256"] = self.claims_sha256
        if self.count is not None:
            fields["count"] = str(self.count)
        if self.wallet is not None:
            self.wallet.write_to(fields)
        if self.kind is not None:
            fields["kind"] = self.kind
        if self.surface is not None:
            fields["surface"] = self.surface
        if self.path is not None:
            fields["path"] = self.path
        if self.error is not None:
            fields.update(self.error)
