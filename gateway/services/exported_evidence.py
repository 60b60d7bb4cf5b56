"""Exported evidence as lines of a file, and as moves to reconcile.

`evidence verify` reads such a file, without the rest of this program. Lines of evidence begin with the member
`operation_id`. The others hold one member each: `chain_extent` (first), `chain_key` (a public key, as base64 of 32
bytes) and `chain_block` (after all evidence, by number).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any, TextIO

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from gateway.core.types import Environment
from gateway.evidence.report import Move
from gateway.v1 import common_pb2, wallet_pb2


def exact_line(members: dict[str, Any]) -> str:
    """Return the exact form that `evidence verify` reads, without the line end."""
    return json.dumps(members, ensure_ascii=False, separators=(",", ":"))


def evidence_line(evidence: wallet_pb2.WalletEvidence) -> str:
    """Return the line of one operation, with its end."""
    return exact_line(MessageToDict(evidence, preserving_proto_field_name=True)) + "\n"


class ChainLines:
    """Writes each extent, key and block once, even if the stream was interrupted and resumed."""

    def __init__(self, sink: TextIO, line_of: Callable[[dict[str, Any]], str] = exact_line) -> None:
        """Args: `line_of`: turns members into a line; another one than `exact_line` only for a terminal."""
        self._sink = sink
        self._line_of = line_of
        self._has_extent = False
        self._keys: set[str] = set()
        self._last_block = 0

    def take(self, part: wallet_pb2.ExportWalletEvidenceResponse) -> None:
        """Write the chain's lines from one part of the stream."""
        if part.HasField("chain_extent") and not self._has_extent:
            self._has_extent = True
            self._write("chain_extent", part.chain_extent)
        for key in part.public_keys:
            if key.key_id not in self._keys:
                self._keys.add(key.key_id)
                self._write("chain_key", key)
        for block in part.chain_blocks:
            if block.number > self._last_block:
                self._last_block = block.number
                self._write("chain_block", block)

    def _write(self, name: str, message: Message) -> None:
        self._sink.write(self._line_of({name: MessageToDict(message, preserving_proto_field_name=True)}) + "\n")


def environment_of(evidence: wallet_pb2.WalletEvidence) -> str:
    """Return `sandbox` or `prod`."""
    return common_pb2.PhoenixEnvironment.Name(evidence.environment).removeprefix("PHOENIX_ENVIRONMENT_").lower()


def move_of(evidence: wallet_pb2.WalletEvidence) -> Move:
    """Return what a report needs of one operation."""
    read = evidence.operation
    return Move(
        operator_code=evidence.operator_code,
        environment=Environment(environment_of(evidence)),
        operation_id=evidence.operation_id,
        operation=read.operation,
        idempotency_key=read.idempotency_key,
        received_at_us=evidence.receive_time.ToMicroseconds(),
        currency=read.currency_code,
        amount=Decimal(read.amount.amount) if read.HasField("amount") else None,
        amount_json=read.amount_json,
        references_json=read.references_json,
        status=evidence.response.status if evidence.HasField("response") else None,
        attempt=evidence.attempt,
        suspect_replay=evidence.suspect_replay,
        incidents=tuple(incident.reason for incident in evidence.incidents),
        held=evidence.state == wallet_pb2.WALLET_OPERATION_STATE_HELD,
        replays=evidence.replay_count,
        conflicts=sum(conflict.count for conflict in evidence.conflicts),
    )
