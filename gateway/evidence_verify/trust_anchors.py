"""The trust anchors of a verification: heads that were stored elsewhere, and known public keys.

A head comes from /evidence/head of the gateway's admin port or from its log. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from gateway.evidence_verify.blocks import Block, ChainChecker, Extent, read_block
from gateway.evidence_verify.findings import Code, Findings, UnusableInput
from gateway.evidence_verify.records import ENVIRONMENTS
from gateway.evidence_verify.signatures import fingerprint, public_key_of_pem

LOG_EVENT = "evidence head"


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The end of a chain at some time. `block` is None for a head from a log line, which has no block header."""

    operator_code: str
    environment: str
    number: int
    hash: str
    key_id: str
    block: Block | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustAnchors:
    """Heads of the export's chain, and keys by id. Without both, a chain only shows that it is consistent."""

    heads: tuple[Head, ...] = ()
    keys: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def key_ids(self) -> frozenset[str]:
        """The keys whose blocks are trusted."""
        return frozenset(self.keys) | {head.key_id for head in self.heads if head.key_id}


def read_heads(text: bytes) -> list[Head]:
    """Return all heads in a file. Raises: UnusableInput if there is none."""
    found: list[Head] = []
    try:
        text = _as_utf_8(text)
        try:
            documents = [orjson.loads(text)]
        except ValueError:
            documents = [orjson.loads(line) for line in text.splitlines() if LOG_EVENT.encode() in line]
        for document in documents:
            if "heads" in document:
                found += [_published_head(head, document["keys"]) for head in document["heads"]]
            elif document.get("event") == LOG_EVENT:
                found.append(_head_of_log_line(document))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UnusableInput("--head: not the format of the admin port or of the log") from error
    if not found:
        raise UnusableInput("--head: the file has no head")
    return found


def _as_utf_8(text: bytes) -> bytes:
    """Undo what a shell on Windows does to the output of a command. Raises: ValueError."""
    if text[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return text.decode("utf-16").encode()
    return text.removeprefix(b"\xef\xbb\xbf")


def _published_head(head: dict[str, Any], keys: list[dict[str, str]]) -> Head:
    environment = ENVIRONMENTS.get(head["environment"], head["environment"])
    members = {name: value for name, value in head.items() if name not in ("operator_code", "environment")}
    block = read_block(members)
    extent = Extent(
        operator_code=head["operator_code"], environment=environment, start_us=None, end_us=None, as_of=block.number
    )
    findings = Findings()
    ChainChecker(extent=extent, keys=_keys(keys), findings=findings, head_numbers=frozenset()).check_header(block)
    if findings.count:
        raise UnusableInput(f"--head: {findings.kept[0].detail}")
    return Head(
        operator_code=extent.operator_code,
        environment=environment,
        number=block.number,
        hash=block.hash,
        key_id=block.key_id,
        block=block,
    )


def _keys(keys: list[dict[str, str]]) -> dict[str, bytes]:
    found = {key["key_id"]: public_key_of_pem(key["public_key"].encode()) for key in keys}
    if any(fingerprint(key) != key_id for key_id, key in found.items()):
        raise UnusableInput("--head: a public key does not match its fingerprint")
    return found


def _head_of_log_line(line: dict[str, Any]) -> Head:
    return Head(
        operator_code=line["operator"],
        environment=line["environment"],
        number=int(line["block"]),
        hash=line["block_hash"],
        key_id=line["key_id"],
    )


def select_anchors(heads: Iterable[Head], pems: Iterable[bytes], extent: Extent) -> TrustAnchors:
    """Return the heads of the export's chain, and the keys. Raises: UnusableInput."""
    given = list(heads)
    own = [
        head for head in given if (head.operator_code, head.environment) == (extent.operator_code, extent.environment)
    ]
    if given and not own:
        raise UnusableInput(f"--head: the file has no head of {extent.operator_code} in {extent.environment}")
    try:
        keys = [public_key_of_pem(pem) for pem in pems]
    except ValueError as error:
        raise UnusableInput("--key or --platform-key: not an Ed25519 public key in SPKI PEM") from error
    return TrustAnchors(
        heads=tuple(sorted(own, key=lambda head: head.number)), keys={fingerprint(key): key for key in keys}
    )


def check_against_anchors(
    chain: ChainChecker, anchors: TrustAnchors, findings: Findings
) -> tuple[list[str], list[str]]:
    """Compare the chain with the anchors. Return what this proves and what it does not, as sentences."""
    proven: list[str] = []
    open_ends: list[str] = []
    whole = 0 if chain.contiguous_until is None else chain.contiguous_until.number
    first = 0 if chain.first is None else chain.first.number
    confirmed = 0
    for head in anchors.heads:
        if first <= head.number <= whole and head.number in chain.hashes:
            if chain.hashes[head.number] != head.hash:
                detail = f"block {head.number} differs from the stored head: the chain was rebuilt"
                findings.add(Code.HEAD_DIFFERS, detail)
            else:
                confirmed = head.number
        elif head.number > whole and not chain.reaches_horizon:
            detail = f"the stored head is block {head.number}, but the export ends at block {whole}"
            findings.add(Code.CUT_OFF, detail)
    if confirmed:
        proven.append(f"nothing is missing up to block {confirmed}: a head that was stored elsewhere confirms it")
    _check_signers(chain, anchors, confirmed, findings)
    if not chain.count:
        open_ends.append("anything: the chain has no blocks")
    elif not confirmed and not anchors.heads:
        open_ends.append("that no later records are missing: this needs --head with a head that was stored elsewhere")
    elif confirmed < whole:
        open_ends.append(f"that nothing is missing after block {confirmed}: the stored head is older than the export")
    elif not confirmed:
        open_ends.append(
            "that no later records are missing: the stored heads are outside this range and confirm only the key"
        )
    if not anchors.key_ids and not confirmed and chain.count:
        names = ", ".join(sorted(key_id for key_id in chain.signed_by if key_id))
        open_ends.append(f"that the key {names} belongs to the gateway: compare it, or give --head or --key")
    return proven, open_ends


def _check_signers(chain: ChainChecker, anchors: TrustAnchors, confirmed: int, findings: Findings) -> None:
    """Check the signing keys of the blocks after the newest confirmed head: only their key protects them."""
    if not anchors.key_ids:
        return
    for key_id, newest in chain.signed_by.items():
        if newest <= confirmed or key_id in anchors.key_ids:
            continue
        if key_id:
            detail = f"block {newest} is signed by {key_id}, which neither a head nor --key confirms"
        else:
            detail = f"block {newest} is not signed"
        findings.add(Code.BLOCK_NOT_SIGNED, detail)
