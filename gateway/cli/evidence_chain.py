"""Writes the proofs of an export between its lines. `evidence verify` reads them, without the rest of this program.

Lines of evidence begin with the member `operation_id`. The others hold one member each: `chain_extent` (first),
`chain_key` (a public key, as base64 of 32 bytes) and `chain_block` (after all evidence, by number).
"""

from __future__ import annotations

import json
from typing import TextIO

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from gateway.cli.plain_text import json_line
from gateway.v1 import wallet_pb2


class ChainLines:
    """Writes each extent, key and block once, even if the stream was interrupted and resumed."""

    def __init__(self, sink: TextIO) -> None:
        self._sink = sink
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
        members = MessageToDict(message, preserving_proto_field_name=True)
        line = {name: members}
        shown = json_line(line) if self._sink.isatty() else json.dumps(line, ensure_ascii=False, separators=(",", ":"))
        self._sink.write(shown + "\n")
