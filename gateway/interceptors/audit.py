"""Decides which records of a call the audit log gets, and when.

Every refusal is recorded. Of the calls that succeed, those that use a secret, store evidence or read it are recorded.
If the audit log is required, such a call starts only after its record is on the disk, and a minted token leaves only
after the record of its digest is. telemetry/audit.py writes the records.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from gateway.actions.shared.call import Call
from gateway.errors import AuditUnavailable, CallerFault, Disabled, GatewayError
from gateway.interceptors.call_log import status_and_reason
from gateway.interceptors.chain import EndObserver, HandlerGate
from gateway.interceptors.policy import METHODS, MethodPolicy
from gateway.resilience.deadline import RETURN_MARGIN_S, Deadline
from gateway.telemetry.audit_record import AuditRecord, Kind

LONGEST_S = 1.0
_V1 = "/phoenix.gateway.v1."


class Use(enum.Enum):
    """What a method does that the audit log must show."""

    NONE = "none"
    """It uses no secret. Only its refusals are recorded."""
    ACTS = "acts"
    """It sends a signed request, or stores or reads evidence. If the audit log is required, recorded at its start."""
    MINTS = "mints"
    """It returns a credential. If the audit log is required, recorded before the answer leaves."""


USES: Mapping[str, Use] = {
    _V1 + "TokenService/MintLaunchJWT": Use.MINTS,
    _V1 + "TokenService/BatchMintLaunchJWT": Use.MINTS,
    _V1 + "TokenService/MintTenantJWT": Use.MINTS,
    _V1 + "TokenService/MintAdminJWT": Use.MINTS,
    _V1 + "TokenService/SignLeaderboardSocket": Use.MINTS,
    _V1 + "KeyService/ListKeys": Use.NONE,
    _V1 + "KeyService/GetPublicKey": Use.NONE,
    "/grpc.health.v1.Health/Check": Use.NONE,
    "/grpc.health.v1.Health/List": Use.NONE,
    "/grpc.health.v1.Health/Watch": Use.NONE,
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo": Use.NONE,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": Use.NONE,
}
"""Any other method acts, so a new method is recorded until it is listed here."""

_ENDED = Kind.ENDED  # looking a member up costs more than the rest of a record
_REFUSED = "refused"


class Trail(Protocol):
    """Where records go; `telemetry.audit.AuditTrail` in the gateway."""

    def write(self, record: AuditRecord) -> None:
        """Have the record written soon, without waiting."""
        ...

    async def write_durably(self, record: AuditRecord, within_s: float) -> None:
        """Return once the record is written. Raises: AuditUnavailable."""
        ...


class Audit(HandlerGate, EndObserver):
    """Records how calls end, and before that what must be recorded first.

    Belongs after Identity, so that records name the caller, and before every link that refuses.
    """

    def __init__(
        self,
        trail: Trail,
        *,
        required: bool = False,
        key_of: Callable[[Call], str] = lambda call: "",
        uses: Mapping[str, Use] = USES,
        methods: Mapping[str, MethodPolicy] = METHODS,
    ) -> None:
        """Take where records go.

        Args: `required`: refuse calls that use a secret while records cannot be written; `key_of`: returns the key
        version that a call used if its action does not record it, "" for none.
        """
        self._trail = trail
        self._write = trail.write
        self._required = required
        self._key_of = key_of
        self._unrecorded = frozenset(method for method, use in uses.items() if use is Use.NONE)
        minting = frozenset(method for method, use in uses.items() if use is Use.MINTS)
        acting = frozenset(methods) - self._unrecorded - minting
        streams = frozenset(method for method, row in methods.items() if row.timeout_s is None)
        # A stream may stay open for hours, so its start is always recorded.
        self._recorded_at_start = acting if required else acting & streams
        self._recorded_before_answer = minting if required else frozenset[str]()

    def on_start(self, call: Call) -> Awaitable[None] | None:
        """Record that the call starts, if its method asks for that. Raises: AuditUnavailable."""
        if call.method not in self._recorded_at_start:
            return None
        record = _record(Kind.BEGUN, call, "", "", "")
        if self._required:
            return self._write_durably(record, call.deadline)
        self._write(record)
        return None

    def on_answer(self, call: Call) -> Awaitable[None] | None:
        """Record what was minted, if the audit log is required. Raises: AuditUnavailable."""
        return self._record_minted(call) if call.method in self._recorded_before_answer else None

    def after(self, call: Call, error: BaseException | None) -> None:
        """Record how the call ended, unless that is recorded already or not needed."""
        if error is None and (call.audited or call.method in self._unrecorded):
            return
        self._write(self._ended(call, error))

    async def _record_minted(self, call: Call) -> None:
        await self._write_durably(self._ended(call, None), call.deadline)
        call.audited = True

    def _ended(self, call: Call, error: BaseException | None) -> AuditRecord:
        verdict = "allowed" if error is None else _verdict(error)
        record = call.record
        if record.key_id is None and verdict != _REFUSED:
            record.key_id = self._key_of(call) or None
        return _record(_ENDED, call, *status_and_reason(error), verdict)

    async def _write_durably(self, record: AuditRecord, deadline: Deadline) -> None:
        within_s = min(deadline.remaining() - RETURN_MARGIN_S, LONGEST_S)
        if within_s <= 0:
            raise AuditUnavailable
        await self._trail.write_durably(record, within_s)


def _record(kind: Kind, call: Call, status: str, reason: str, verdict: str) -> AuditRecord:
    caller = call.caller
    peer = "" if caller else call.peer.address
    fields: dict[str, str] = {}
    call.record.write_to(fields)
    return AuditRecord(
        kind, time.time_ns(), caller, peer, call.method, call.request_id, status, reason, verdict, fields
    )


def _verdict(error: BaseException) -> str:
    """Return how a call ended that did not succeed: refused by the gateway, left by its caller, or failed."""
    if isinstance(error, CallerFault | Disabled | AuditUnavailable):
        return _REFUSED
    if isinstance(error, GatewayError) or status_and_reason(error)[0] != "CANCELLED":
        return "failed"
    return "left"
