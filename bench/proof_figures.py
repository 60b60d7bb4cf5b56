"""The rate of `evidence verify` on both cores, in exported records per second.

The gateway's own code writes the export without a store: signed bodies, outcomes and blocks.
`python -m bench.proof_figures FILE COUNT` writes an export of any size, for a manual run.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

from bench.figures import Figure, Measure
from bench.processes import ROOT
from bench.servers import Setup
from gateway.actions.wallet.export_chain import Exported, Extent
from gateway.cli.evidence_files import _writer
from gateway.core.ed25519 import generate_signing_key
from gateway.core.encoding import b64url_encode, sha256_hex
from gateway.core.types import Environment, KeyId, OperatorCode
from gateway.core.wallet_operation import MoveContent
from gateway.evidence.chain.blocks import NO_BLOCK, Block, BlockSigner, JournalRow, next_block
from gateway.evidence.chain.entries import claim_line, outcome_line
from gateway.evidence.chain.reading import ChainRange
from gateway.evidence.record import Balance, Evidence, RecordedResponse
from gateway.services.exported_evidence import ChainLines
from gateway.services.wallet_chain import exported_message
from gateway.services.wallet_messages import evidence_message

RECORDS = 50_000
BLOCK = 2_000
LIMIT_S = 300.0
"""The time limit for a million records."""
_BEGAN_US = 1_790_000_000_000_000


def evidence_verify(setup: Setup, seconds: float) -> list[Figure]:
    """Records per second of `evidence verify`; at least 1,000,000 in 5 minutes."""
    cores = {core for core in (setup.server_core, setup.load_core) if core is not None}
    with tempfile.TemporaryDirectory(prefix="bench-evidence-") as folder:
        path = Path(folder) / "export.jsonl"
        write_export(path, RECORDS)
        began, cpu_before = time.monotonic(), _children_cpu_s()
        done = subprocess.run(  # noqa: S603 - our own program
            [sys.executable, "-m", "gateway.evidence_verify", str(path), "--json"],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            preexec_fn=(lambda: os.sched_setaffinity(0, cores)) if cores else None,
        )
        took_s, cpu_s = time.monotonic() - began, _children_cpu_s() - cpu_before
        size = path.stat().st_size
    faults: Counter[str] = Counter()
    result = json.loads(done.stdout or "{}")
    if (done.returncode, result.get("verdict"), result.get("signatures")) != (0, "proven", RECORDS):
        faults["the export was not verified"] += 1
    per_s = RECORDS / took_s
    if 1_000_000 / per_s > LIMIT_S:
        faults[f"a million records would take more than {LIMIT_S:.0f} s"] += 1
    return [
        Figure(
            name="evidence_verify",
            value=per_s,
            unit="records/s",
            about="verified records, including the start of the processes; a million in 5 minutes is 3,333",
            limit=1_000_000 / LIMIT_S,
            details={
                "records": RECORDS,
                "seconds": round(took_s, 2),
                "cpu_us": round(cpu_s / RECORDS * 1e6, 1),
                "mib": round(size / 2**20, 1),
            },
            faults=faults,
        )
    ]


def _children_cpu_s() -> float:
    """Return the CPU time of all ended child processes."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def write_export(path: Path, count: int) -> None:
    """Write an export of `count` finished operations."""
    platform, gateway = generate_signing_key()[0], generate_signing_key()[0]
    signer = BlockSigner(
        key_id=gateway.key_id,
        public_key=gateway.public.raw,
        sign=lambda header: b64url_encode(gateway.sign(header)),
    )
    about = ChainRange(operator_code="acme", environment="prod", start_us=None, end_us=None)
    extent = Extent(wanted=about, as_of=-(-count // BLOCK))
    blocks: list[Block] = []
    lines: list[str] = []
    with path.open("w", encoding="utf-8") as sink:
        chain, write = ChainLines(sink), _writer(sink, "jsonl")
        keys = ((platform.key_id, platform.public.raw), (gateway.key_id, gateway.public.raw))
        chain.take(exported_message(Exported(next_page_token="", extent=extent, public_keys=keys), omit_bodies=False))
        for number in range(count):
            evidence = _evidence(number, platform.key_id, lambda body: b64url_encode(platform.sign(body)))
            write(evidence_message(evidence))
            lines += _lines(evidence)
            if (number + 1) % BLOCK == 0 or number + 1 == count:
                newest = evidence.received_at_us
                waiting = JournalRow(
                    id=number,
                    entry_count=len(lines),
                    oldest_received_us=newest - len(lines) * 500,
                    newest_received_us=newest,
                    entries="\n".join(lines),
                )
                before = blocks[-1] if blocks else None
                previous, previous_hash = (before.header, before.hash) if before else (None, NO_BLOCK)
                blocks.append(next_block(("acme", "prod"), previous, previous_hash, [waiting], newest, signer))
                lines = []
        for block in blocks:
            chain.take(exported_message(Exported(next_page_token="", blocks=(block,)), omit_bodies=False))


def _evidence(number: int, key_id: KeyId, sign: Callable[[bytes], str]) -> Evidence:
    key = str(uuid.UUID(bytes=hashlib.md5(str(number).encode(), usedforsecurity=False).digest()))
    received = _BEGAN_US + number * 1000
    body = json.dumps(
        {
            "operation": "reserve_cash",
            "operator_id": "op-acme",
            "environment": "prod",
            "player": {"external_id": f"player-{number % 5000}"},
            "currency_code": "EUR",
            "amount": {"value": f"{number % 900}.50"},
            "references": {"order_id": f"order-{number}", "market_id": f"market-{number % 40}"},
            "reason": "ORDER_REQUESTED",
            "idempotency_key": key,
        },
        separators=(",", ":"),
    ).encode()
    answer = b'{"available":"87.50","reserved":"12.50","operator_transaction_id":"tx-1"}'
    return Evidence(
        operation_id=str(uuid.UUID(int=(received << 64) + number)),
        operator_code=OperatorCode("acme"),
        environment=Environment.PROD,
        idempotency_key=key,
        content=MoveContent(
            operation="reserve_cash",
            player_id=f"player-{number % 5000}",
            currency="EUR",
            amount=Decimal(f"{number % 900}.50"),
            amount_json=f'{{"value":"{number % 900}.50"}}',
            references_json=f'{{"order_id":"order-{number}","market_id":"market-{number % 40}"}}',
            body_sha256=sha256_hex(body),
        ),
        reason="ORDER_REQUESTED",
        body=body,
        signature=sign(body),
        key_id=key_id,
        request_id=key,
        received_at_us=received,
        attempt=1,
        lease_expires_at_us=received + 60_000_001,
        suspect_replay=False,
        probed_before=False,
        response=RecordedResponse(
            status=200, body_sha256=sha256_hex(answer), body=answer, recorded_at_us=received + 5_001
        ),
        operator_transaction_id=f"tx-{number}",
        operator_reservation_id=f"res-{number}",
        available=Balance(amount="87.50", currency="EUR"),
        reserved=Balance(amount="12.50", currency="EUR"),
        processed_at_us=received + 4_001,
        incidents=(),
    )


def _lines(evidence: Evidence) -> list[str]:
    assert evidence.response is not None
    return [
        claim_line(
            operation_id=evidence.operation_id,
            operator_code=evidence.operator_code,
            environment=evidence.environment,
            idempotency_key=evidence.idempotency_key,
            content=evidence.content,
            reason=evidence.reason,
            signature=evidence.signature,
            key_id=evidence.key_id,
            request_id=evidence.request_id,
            received_at_us=evidence.received_at_us,
            suspect_replay=False,
            probed_before=False,
            attempt=1,
            lease_expires_at_us=evidence.lease_expires_at_us,
        ),
        outcome_line(
            evidence.operation_id,
            evidence.received_at_us,
            response=evidence.response,
            operator_transaction_id=evidence.operator_transaction_id,
            operator_reservation_id=evidence.operator_reservation_id,
            available=evidence.available,
            reserved=evidence.reserved,
            processed_at_us=evidence.processed_at_us,
        ),
    ]


FIGURES: dict[str, Measure] = {"evidence_verify": evidence_verify}

if __name__ == "__main__":
    write_export(Path(sys.argv[1]), int(sys.argv[2]))
