"""Writes exported evidence as JSON Lines or CSV. The file exists only when it is complete."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import TextIO

import grpc
from google.protobuf.json_format import MessageToDict

from gateway.cli.connect import print_failure
from gateway.cli.evidence_stream import EvidenceStream, ExportOptions, TlsFiles, with_progress
from gateway.cli.options import WrongOptions
from gateway.core.plain_text import csv_cell, json_line
from gateway.resilience.atomic_file import replacing
from gateway.services.exported_evidence import ChainLines, environment_of, exact_line
from gateway.v1 import common_pb2, wallet_pb2

COLUMNS = (
    *("receive_time", "operation_id", "operator_code", "environment", "operation", "idempotency_key", "state"),
    *("player_id", "amount", "currency_code", "amount_json", "references_json", "reason", "attempt"),
    *("response_status", "response_body_sha256", "record_time", "operator_transaction_id", "operator_reservation_id"),
    *("available_balance", "reserved_balance", "process_time", "suspect_replay", "probed_before", "incidents"),
    *("request_body_sha256", "key_id", "first_request_id", "replay_count", "conflict_count"),
)


def export_to(out: Path | None, form: str, options: ExportOptions, target: str, tls: TlsFiles) -> int:
    """Export into a file or to standard output; return the exit code. `form`: csv or jsonl."""
    stream = EvidenceStream(options=options, target=target, tls=tls)
    try:
        with _opened(out) as sink:
            if options.include_chain:
                stream.take_chain = ChainLines(sink, json_line if sink.isatty() else exact_line).take
            with_progress(stream, _writer(sink, form))
    except WrongOptions as error:
        print(error, file=sys.stderr)
        return 2
    except grpc.RpcError as error:
        print_failure(target, error)
        return 1
    except OSError as error:
        print(f"--out: cannot be written ({error.strerror}); check its folder and the space left", file=sys.stderr)
        return 1
    print(f"{stream.count} moves{'' if out is None else f' in {out}'}", file=sys.stderr)
    warn_unsettled(stream)
    return 0


def warn_unsettled(stream: EvidenceStream) -> None:
    """Warn on standard error if moves may still be added to the period."""
    if not stream.is_settled and stream.settled is not None:
        until = stream.settled.isoformat(timespec="seconds")
        print(f"Complete up to {until}. Moves received after it may be missing.", file=sys.stderr)


@contextmanager
def _opened(out: Path | None) -> Iterator[TextIO]:
    """Yield the output. A file gets its name, with mode 0600, only if nothing failed."""
    if out is None:
        yield sys.stdout
        sys.stdout.flush()
        return
    with replacing(out) as file:
        sink = TextIOWrapper(file, encoding="utf-8", newline="")
        try:
            yield sink
        finally:
            sink.detach()  # flushes, and leaves the file open for its owner


def _writer(sink: TextIO, form: str) -> Callable[[wallet_pb2.WalletEvidence], None]:
    if form == "jsonl":
        # `evidence verify` reads the exact form that a file gets.
        text_of = json_line if sink.isatty() else exact_line

        def write_line(evidence: wallet_pb2.WalletEvidence) -> None:
            sink.write(text_of(MessageToDict(evidence, preserving_proto_field_name=True)) + "\n")

        return write_line
    table = csv.writer(sink, lineterminator="\n")
    table.writerow(COLUMNS)
    return lambda evidence: table.writerow(map(csv_cell, _row(evidence)))


def _row(evidence: wallet_pb2.WalletEvidence) -> list[str]:
    move = evidence.operation
    finished = evidence.HasField("response")
    state = wallet_pb2.WalletOperationState.Name(evidence.state).removeprefix("WALLET_OPERATION_STATE_")
    values = {
        "receive_time": evidence.receive_time.ToJsonString(),
        "environment": environment_of(evidence),
        "state": state,
        "amount": move.amount.amount,
        "response_status": str(evidence.response.status) if finished else "",
        "response_body_sha256": evidence.response.body_sha256,
        "record_time": evidence.response.record_time.ToJsonString() if finished else "",
        "available_balance": _money(evidence.available_balance),
        "reserved_balance": _money(evidence.reserved_balance),
        "process_time": evidence.process_time.ToJsonString() if evidence.HasField("process_time") else "",
        "suspect_replay": "true" if evidence.suspect_replay else "false",
        "probed_before": "true" if evidence.probed_before else "false",
        "incidents": " ".join(incident.reason for incident in evidence.incidents),
        "conflict_count": str(sum(conflict.count for conflict in evidence.conflicts)),
    }
    members = {"idempotency_key", "operation", "player_id", "currency_code", "amount_json", "references_json", "reason"}
    return [
        values[name] if name in values else str(getattr(move if name in members else evidence, name))
        for name in COLUMNS
    ]


def _money(balance: common_pb2.Money) -> str:
    return f"{balance.amount} {balance.currency_code}".strip()
