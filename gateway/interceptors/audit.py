"""What of a call the audit log holds, and when.

Every refusal is kept, whoever refused. Of calls that end well, those that use a secret, keep evidence or read it. Where
the audit is required, such a call begins only once that is kept, and what was minted is given out only once its
digest is. Writing is telemetry/audit.py's matter. Source: issue 8, point 6; STYLE, "The way of a call".
"""

from __future__ import annotations

import enum
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Protocol

from gateway.actions.shared.call import Call
from gateway.errors import AuditUnavailable, CallerFault, Disabled, GatewayError
from gateway.interceptors.call_log import ended
from gateway.interceptors.chain import Link
from gateway.resilience.deadline import RETURN_MARGIN_S, Deadline
from gateway.telemetry.audit_record import AuditRecord, Kind

LONGEST_S = 1.0
_V1 = "/phoenix.gateway.v1."

Handler = Callable[[Any, Call], Any]


class Use(enum.Enum):
    """What a method does that has to be kept."""

    DENY_ALL = "nothing"
    """Uses no secret: only its refusals are kept."""
    ACTS = "acts"
    """Signs something that leaves, keeps or reads evidence: where the audit is required, kept before it begins."""
    MINTS = "mints"
    """Its answer is the secret's use: where the audit is required, kept before it is given out."""


USES: Mapping[str, Use] = {
    _V1 + "TokenService/MintLaunchJWT": Use.MINTS,
    _V1 + "TokenService/BatchMintLaunchJWT": Use.MINTS,
    _V1 + "TokenService/MintTenantJWT": Use.MINTS,
    _V1 + "TokenService/MintAdminJWT": Use.MINTS,
    _V1 + "TokenService/SignLeaderboardSocket": Use.MINTS,
    _V1 + "KeyService/ListKeys": Use.DENY_ALL,
    _V1 + "KeyService/GetPublicKey": Use.DENY_ALL,
    "/grpc.health.v1.Health/Check": Use.DENY_ALL,
    "/grpc.health.v1.Health/List": Use.DENY_ALL,
    "/grpc.health.v1.Health/Watch": Use.DENY_ALL,
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo": Use.DENY_ALL,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": Use.DENY_ALL,
}
"""What is not named here acts: a new method is kept until somebody decides otherwise."""


_ENDED = Kind.ENDED
_REFUSED = "refused"


class Trail(Protocol):
    """Where records go; telemetry.audit.AuditTrail in earnest."""

    def note(self, record: AuditRecord) -> None:
        """Have it written soon, without waiting."""
        ...

    async def keep(self, record: AuditRecord, within_s: float) -> None:
        """Return once it is kept. Raises: AuditUnavailable."""
        ...


class Audit(Link):
    """Notes how calls end. Stands behind identity and before whatever refuses, so that refusals are kept too."""

    def __init__(
        self,
        trail: Trail,
        *,
        required: bool = False,
        key_of: Callable[[Call], str] = lambda call: "",
        uses: Mapping[str, Use] = USES,
    ) -> None:
        """Args: `required`: no secret is used whose use cannot be kept; `key_of`: the version of the key that a call
        used whose action does not tell it; empty for none."""
        self._trail = trail
        self._note = trail.note
        self._required = required
        self._key_of = key_of
        self._uses = uses
        self._quiet = frozenset(method for method, use in uses.items() if use is Use.DENY_ALL)

    def after(self, call: Call, error: BaseException | None) -> None:
        """Note how the call ended, unless that is kept already or nothing was used."""
        if error is None and (call.audited or call.method in self._quiet):
            return
        self._note(self._ended(call, error))

    def with_audit(self, method: str, handler: Handler, *, is_stream: bool) -> Handler:
        """Return the handler with what must be kept before it begins, or before its answer leaves."""
        use = self._uses.get(method, Use.ACTS)
        if use is Use.DENY_ALL:
            return handler
        if is_stream:
            return self._stream(handler)
        if not self._required:
            return handler
        return self._minted(handler) if use is Use.MINTS else self._acting(handler)

    def _acting(self, handler: Handler) -> Handler:
        async def acting(request: Any, call: Call) -> Any:
            await self._keep(_record(Kind.BEGUN, call, "", "", ""), call.deadline)
            return await handler(request, call)

        return acting

    def _minted(self, handler: Handler) -> Handler:
        async def minted(request: Any, call: Call) -> Any:
            answer = await handler(request, call)
            await self._keep(self._ended(call, None), call.deadline)
            call.audited = True
            return answer

        return minted

    def _stream(self, handler: Handler) -> Handler:
        """A stream may stay for hours: that it began is kept, required or not."""

        async def stream(request: Any, call: Call) -> AsyncIterator[Any]:
            record = _record(Kind.BEGUN, call, "", "", "")
            if self._required:
                await self._keep(record, call.deadline)
            else:
                self._trail.note(record)
            answers = handler(request, call)
            try:
                async for answer in answers:
                    yield answer
            finally:
                await answers.aclose()

        return stream

    def _ended(self, call: Call, error: BaseException | None) -> AuditRecord:
        facts = call.facts
        if error is None:
            if "key_id" not in facts and (key_id := self._key_of(call)):
                facts["key_id"] = key_id
            # In place: this is the way of nearly every call.
            return AuditRecord(
                _ENDED, time.time_ns(), call.caller, "", call.method, call.request_id, "OK", "", "allowed", facts
            )
        verdict = _verdict(error)
        if verdict != _REFUSED and "key_id" not in facts and (key_id := self._key_of(call)):
            facts["key_id"] = key_id
        return _record(_ENDED, call, *ended(error), verdict)

    async def _keep(self, record: AuditRecord, deadline: Deadline) -> None:
        within_s = min(deadline.remaining() - RETURN_MARGIN_S, LONGEST_S)
        if within_s <= 0:
            raise AuditUnavailable
        await self._trail.keep(record, within_s)


def _record(kind: Kind, call: Call, status: str, reason: str, verdict: str) -> AuditRecord:
    facts = call.facts if kind is Kind.ENDED else dict(call.facts)
    peer = "" if call.caller else call.peer.address
    return AuditRecord(
        kind, time.time_ns(), call.caller, peer, call.method, call.request_id, status, reason, verdict, facts
    )


def _verdict(error: BaseException) -> str:
    """Whether it was refused by the gateway, or failed on the way."""
    if isinstance(error, CallerFault | Disabled | AuditUnavailable):
        return _REFUSED
    return "failed" if isinstance(error, GatewayError) else "left" if ended(error)[0] == "CANCELLED" else "failed"
