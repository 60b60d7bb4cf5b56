"""The story of one wallet operation: how it is found, what happened when, what to do, and whether its chain holds."""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from gateway.console.calls import Refused
from gateway.console.visit import Visit
from gateway.core.rights import OperatorScope
from gateway.evidence_verify.findings import UnusableInput
from gateway.evidence_verify.verification import verify_export
from gateway.services.convert import environment_to_proto
from gateway.services.exported_evidence import ChainLines, evidence_line
from gateway.v1 import wallet_pb2

OPERATIONS = ("reserve_cash", "capture_cash", "release_cash", "credit_cash")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One point of the timeline. `detail`: what belongs to it, in words or ids. `is_trouble`: it needs a look."""

    at: datetime
    what: str
    detail: str = ""
    is_trouble: bool = False


async def find(visit: Visit, scope: OperatorScope, wanted: str) -> wallet_pb2.WalletEvidence | None:
    """Return the operation with this id, or the first with this idempotency key; None if there is none."""
    requests = []
    if _UUID.fullmatch(wanted.lower()):
        requests.append(wallet_pb2.GetWalletEvidenceRequest(operation_id=wanted.lower()))
    for operation in OPERATIONS:
        key = wallet_pb2.WalletOperationKey(operation=operation, idempotency_key=wanted)
        requests.append(wallet_pb2.GetWalletEvidenceRequest(key=key))
    for request in requests:
        try:
            return await _get(visit, scope, request)
        except Refused as refused:
            if refused.reason != "PHOENIX_NOT_FOUND":
                raise
    return None


async def get(visit: Visit, scope: OperatorScope, operation_id: str) -> wallet_pb2.WalletEvidence:
    """Return the operation. Raises: Refused."""
    return await _get(visit, scope, wallet_pb2.GetWalletEvidenceRequest(operation_id=operation_id))


async def _get(
    visit: Visit, scope: OperatorScope, request: wallet_pb2.GetWalletEvidenceRequest
) -> wallet_pb2.WalletEvidence:
    request.operator_code = scope[0]
    request.environment = environment_to_proto(scope[1])
    answer = await visit.calls(
        visit.visitor, "WalletService/GetWalletEvidence", request, wallet_pb2.GetWalletEvidenceResponse
    )
    return answer.evidence


def timeline(evidence: wallet_pb2.WalletEvidence, now: datetime) -> Sequence[Event]:
    """Return what happened, in order."""
    events = [
        Event(
            at=_at(evidence.receive_time),
            what="Phoenix's webhook was verified" if evidence.attempt else "Phoenix's webhook was verified and held",
            detail=f"request id {evidence.first_request_id or 'none'}, platform key {evidence.key_id[:12]}",
            is_trouble=evidence.suspect_replay,
        )
    ]
    if evidence.suspect_replay:
        events.append(
            Event(
                at=_at(evidence.receive_time),
                what="The same signed body had come before under another idempotency key",
                is_trouble=True,
            )
        )
    if evidence.probed_before:
        events.append(Event(at=_at(evidence.receive_time), what="A status probe had asked for it before it came"))
    if evidence.attempt and evidence.HasField("lease_expire_time") and not evidence.HasField("response"):
        over = _at(evidence.lease_expire_time) < now
        events.append(
            Event(
                at=_at(evidence.lease_expire_time),
                what=f"The lease of attempt {evidence.attempt} {'ended without an outcome' if over else 'ends'}",
                is_trouble=over,
            )
        )
    if evidence.HasField("response"):
        detail = f"transaction {evidence.operator_transaction_id}" if evidence.operator_transaction_id else ""
        events.append(
            Event(
                at=_at(evidence.response.record_time),
                what=f"The wallet answered {evidence.response.status} in attempt {evidence.attempt}",
                detail=detail,
            )
        )
    if evidence.HasField("process_time"):
        events.append(Event(at=_at(evidence.process_time), what="The wallet's ledger booked it, as the wallet says"))
    for incident in evidence.incidents:
        events.append(
            Event(
                at=_at(incident.receive_time),
                what=f"An outcome was refused: {incident.reason}",
                detail=f"attempt {incident.attempt}, status {incident.response_status}, "
                f"transaction {incident.operator_transaction_id or 'none'}",
                is_trouble=True,
            )
        )
    for conflict in evidence.conflicts:
        events.append(
            Event(
                at=_at(conflict.receive_time),
                what=f"Its key came with other content, {conflict.count} times; answered 422",
                detail=f"request id {conflict.first_request_id or 'none'}, body {conflict.request_body_sha256[:12]}",
                is_trouble=True,
            )
        )
    return sorted(events, key=lambda event: event.at)


def advice(evidence: wallet_pb2.WalletEvidence, now: datetime) -> str:
    """Say what a person has to do; empty if nothing."""
    if evidence.state == wallet_pb2.WALLET_OPERATION_STATE_HELD:
        return (
            "It is held as a suspect replay, and no wallet executes it. Compare it with your ledger and ask Phoenix; "
            "Phoenix is answered 503 meanwhile."
        )
    if evidence.state == wallet_pb2.WALLET_OPERATION_STATE_IN_PROGRESS:
        if _at(evidence.lease_expire_time) < now:
            return (
                "The wallet began it and has not said how it ended. Phoenix's next call lets the wallet take it up "
                "again, after a look into its ledger. If Phoenix calls no more, look into the ledger yourself."
            )
        return "The wallet works on it. Nothing to do before the lease ends."
    if evidence.incidents:
        return "Another outcome came than the one that counts. Compare the transactions with your ledger."
    return ""


async def prove(visit: Visit, scope: OperatorScope, evidence: wallet_pb2.WalletEvidence) -> dict[str, Any]:
    """Export what the chain holds of the operation, and verify it by the code that shares nothing with the gateway."""
    received = _at(evidence.receive_time)
    request = wallet_pb2.ExportWalletEvidenceRequest(
        operator_code=scope[0], environment=environment_to_proto(scope[1]), include_chain=True
    )
    request.start_time.FromDatetime(received - timedelta(microseconds=received.microsecond % 1000))
    request.end_time.FromDatetime(received + timedelta(milliseconds=1))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "evidence.jsonl"
        with file.open("w", encoding="utf-8", newline="") as sink:
            chain = ChainLines(sink)
            async for part in visit.calls.stream(
                visit.visitor, "WalletService/ExportWalletEvidence", request, wallet_pb2.ExportWalletEvidenceResponse
            ):
                chain.take(part)
                for one in part.evidence:
                    sink.write(evidence_line(one))
        try:
            return {"result": await asyncio.to_thread(verify_export, file, processes=1), "trouble": ""}
        except UnusableInput as error:
            return {"result": None, "trouble": str(error)}


def _at(time: Timestamp) -> datetime:
    return time.ToDatetime(tzinfo=UTC)
