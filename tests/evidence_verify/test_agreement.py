"""The gateway's lines and blocks, and the verifier's own reading of them, agree whatever the evidence holds."""

from __future__ import annotations

import hashlib
import json
import tempfile
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.actions.wallet.export_chain import Exported, Extent
from gateway.cli.evidence_files import _writer
from gateway.core.encoding import b64url_encode
from gateway.core.types import Environment, HexStr, OperatorCode
from gateway.core.wallet_operation import MoveContent
from gateway.evidence.chain.blocks import NO_BLOCK, JournalRow, next_block
from gateway.evidence.chain.entries import claim_line, conflict_line, incident_line, outcome_line, replays_line
from gateway.evidence.chain.reading import ChainRange
from gateway.evidence.record import Balance, Conflict, Evidence, Incident, IncidentReason, RecordedResponse
from gateway.services.exported_evidence import ChainLines
from gateway.services.wallet_chain import exported_message
from gateway.services.wallet_messages import evidence_message
from tests.evidence.chain.chain_setup import GATEWAY_KEY, PLATFORM_KEY, signer, verdict

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20)
bodies = st.binary(max_size=60)
times = st.integers(0, 4_000_000_000_000_000)
counts = st.integers(1, 2**31 - 1)
balances = st.none() | st.builds(lambda amount, currency: Balance(amount=amount, currency=currency), texts, texts)
amounts = st.none() | st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=0, max_value=10**12)


def sha(raw: bytes) -> HexStr:
    return HexStr(hashlib.sha256(raw).hexdigest())


@st.composite
def evidences(draw: st.DrawFn) -> Evidence:
    """Evidence of any content; its signatures are Phoenix's."""
    body = draw(bodies.filter(len))
    answer = draw(bodies)
    response = draw(
        st.none()
        | st.builds(
            lambda status, kept, at: RecordedResponse(
                status=status, body_sha256=sha(answer), body=answer if kept else None, recorded_at_us=at
            ),
            st.integers(100, 599),
            st.booleans(),
            times,
        )
    )
    amount = draw(amounts)
    differing = draw(st.lists(bodies.filter(len), max_size=2, unique=True))
    return Evidence(
        operation_id=draw(st.uuids()).hex,
        operator_code=OperatorCode("acme"),
        environment=Environment.PROD,
        idempotency_key=draw(texts),
        content=MoveContent(
            operation=draw(texts),
            player_id=draw(texts),
            currency=draw(texts),
            amount=None if amount is None else Decimal(amount),
            amount_json=draw(texts),
            references_json=draw(texts),
            body_sha256=sha(body),
        ),
        reason=draw(texts),
        body=body,
        signature=b64url_encode(PLATFORM_KEY.sign(body)),
        key_id=PLATFORM_KEY.key_id,
        request_id=draw(texts),
        received_at_us=draw(times),
        attempt=draw(st.integers(0, 1000)) if response is None else draw(st.integers(1, 1000)),
        lease_expires_at_us=draw(times),
        suspect_replay=draw(st.booleans()),
        probed_before=draw(st.booleans()),
        response=response,
        operator_transaction_id=draw(texts) if response else "",
        operator_reservation_id=draw(texts) if response else "",
        available=draw(balances) if response else None,
        reserved=draw(balances) if response else None,
        processed_at_us=draw(st.none() | times) if response else None,
        incidents=tuple(
            draw(
                st.lists(
                    st.builds(
                        Incident,
                        reason=st.sampled_from(IncidentReason),
                        received_at_us=times,
                        attempt=counts,
                        status=st.integers(100, 599),
                        body_sha256=st.just(sha(answer)),
                        operator_transaction_id=texts,
                    ),
                    max_size=2,
                )
            )
        ),
        replay_count=draw(st.integers(0, 5)),
        conflicts=tuple(
            Conflict(
                received_at_us=draw(times),
                count=draw(counts),
                body_sha256=sha(other),
                body=other,
                signature=b64url_encode(PLATFORM_KEY.sign(other)),
                key_id=PLATFORM_KEY.key_id,
                request_id=draw(texts),
            )
            for other in differing
        ),
    )


def lines_of(evidence: Evidence) -> list[str]:
    """The journal's lines of it."""
    name, at = evidence.operation_id, evidence.received_at_us
    members: dict[str, Any] = {
        member: getattr(evidence, member)
        for member in (
            *("operation_id", "operator_code", "environment", "idempotency_key", "content", "reason", "signature"),
            *("key_id", "request_id", "received_at_us", "suspect_replay", "probed_before", "attempt"),
            "lease_expires_at_us",
        )
    }
    lines = [claim_line(**members)]
    if evidence.response is not None:
        lines.append(
            outcome_line(
                name,
                at,
                response=evidence.response,
                operator_transaction_id=evidence.operator_transaction_id,
                operator_reservation_id=evidence.operator_reservation_id,
                available=evidence.available,
                reserved=evidence.reserved,
                processed_at_us=evidence.processed_at_us,
            )
        )
    lines += [incident_line(name, at, incident) for incident in evidence.incidents]
    lines += [conflict_line(name, at, conflict) for conflict in evidence.conflicts]
    return lines + ([replays_line(name, at, evidence.replay_count)] if evidence.replay_count else [])


def export(path: Path, evidence: Evidence) -> None:
    """Write an export of this one."""
    lines = lines_of(evidence)
    waiting = JournalRow(
        id=1,
        entry_count=len(lines),
        oldest_received_us=evidence.received_at_us,
        newest_received_us=evidence.received_at_us,
        entries="\n".join(lines),
    )
    block = next_block(("acme", "prod"), None, NO_BLOCK, [waiting], evidence.received_at_us, signer())
    about = ChainRange(operator_code="acme", environment="prod", start_us=None, end_us=None)
    keys = tuple((key.key_id, key.public.raw) for key in (PLATFORM_KEY, GATEWAY_KEY))
    with path.open("w", encoding="utf-8") as sink:
        chain = ChainLines(sink)
        first = Exported(next_page_token="", extent=Extent(wanted=about, as_of=1), public_keys=keys)
        chain.take(exported_message(first, omit_bodies=False))
        _writer(sink, "jsonl")(evidence_message(evidence))
        chain.take(exported_message(Exported(next_page_token="", blocks=(block,)), omit_bodies=False))


@settings(max_examples=150, deadline=None)
@given(evidences())
def test_any_evidence_is_proven(evidence: Evidence) -> None:
    """Texts of any kind, nothing, both balances or none, times to the microsecond."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "export"
        export(path, evidence)
        reported = verdict(path)
        assert ([], "proven") == (reported["findings"], reported["verdict"])
        assert 1 + len(evidence.conflicts) == reported["signatures"]
        changed = replace(evidence, reason=evidence.reason + "x")
        text = path.read_text()
        before = json.dumps(evidence.reason, ensure_ascii=False)
        if evidence.reason and text.count(f'"reason":{before}') == 1:
            path.write_text(text.replace(f'"reason":{before}', f'"reason":{json.dumps(changed.reason)}'))
            assert "tampered" == verdict(path)["verdict"]
