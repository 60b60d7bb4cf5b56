"""The chain of evidence as messages of WalletService."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import orjson
from google.protobuf.json_format import MessageToDict

from gateway.actions.wallet.export_chain import Exported, Extent
from gateway.core.ed25519 import VerifyingKey
from gateway.core.types import Environment
from gateway.evidence.chain.blocks import Block
from gateway.services.convert import environment_to_proto, timestamp_us
from gateway.services.wallet_messages import listed_messages
from gateway.v1 import wallet_pb2


def exported_message(exported: Exported, *, omit_bodies: bool) -> wallet_pb2.ExportWalletEvidenceResponse:
    """Return one part of an export with its chain."""
    listed = exported.listed
    return wallet_pb2.ExportWalletEvidenceResponse(
        evidence=[] if listed is None else listed_messages(listed, omit_bodies=omit_bodies),
        next_page_token=exported.next_page_token,
        settle_time=None if listed is None else timestamp_us(listed.settled_us),
        chain_extent=None if exported.extent is None else _extent(exported.extent),
        public_keys=[wallet_pb2.WalletPublicKey(key_id=key_id, public_key=key) for key_id, key in exported.public_keys],
        chain_blocks=[_block(block) for block in exported.blocks],
    )


def published_heads(heads: Sequence[Block], public_keys: Mapping[str, bytes]) -> bytes:
    """Return heads as JSON to be kept elsewhere, in the form of an export's blocks, with the keys that signed them."""
    return orjson.dumps(
        {
            "heads": [
                {
                    "operator_code": head.header.operator_code,
                    "environment": head.header.environment,
                    **MessageToDict(_block(head), preserving_proto_field_name=True),
                }
                for head in heads
            ],
            "keys": [
                {"key_id": key_id, "public_key": VerifyingKey(key).spki_pem.decode()}
                for key_id, key in sorted(public_keys.items())
            ],
        },
        option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE,
    )


def _extent(extent: Extent) -> wallet_pb2.WalletChainExtent:
    wanted = extent.wanted
    return wallet_pb2.WalletChainExtent(
        operator_code=wanted.operator_code,
        environment=environment_to_proto(Environment(wanted.environment)),
        start_time=None if wanted.start_us is None else timestamp_us(wanted.start_us),
        end_time=None if wanted.end_us is None else timestamp_us(wanted.end_us),
        as_of=extent.as_of,
    )


def _block(block: Block) -> wallet_pb2.WalletChainBlock:
    header = block.header
    return wallet_pb2.WalletChainBlock(
        number=header.number,
        previous_hash=header.previous_hash,
        hash=block.hash,
        chain_time=timestamp_us(header.chained_at_us),
        first_sequence=header.first_sequence,
        entry_count=header.entry_count,
        oldest_receive_time=timestamp_us(header.oldest_received_us),
        newest_receive_time=timestamp_us(header.newest_received_us),
        entries_sha256=header.entries_sha256,
        key_id=header.key_id,
        signature=block.signature,
        entries=block.entries,
    )
