"""What a chain is held against: heads that were kept elsewhere, and public keys that are known from elsewhere.

A head is what the gateway's admin port answers below /evidence/head, or lines of its log; both as they came. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from gateway.evidence_verify.blocks import Block, Chain, Extent, read_block
from gateway.evidence_verify.findings import Code, Findings, Unusable
from gateway.evidence_verify.records import ENVIRONMENTS
from gateway.evidence_verify.signatures import fingerprint, public_key_of_pem

LOGGED = "evidence head"


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Where a chain ended at some time. `block` None: a log line, which has no header."""

    operator_code: str
    environment: str
    number: int
    hash: str
    key_id: str
    block: Block | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Heads of the export's chain, and keys by id. With neither, a chain proves that it fits itself."""

    heads: tuple[Head, ...] = ()
    keys: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def key_ids(self) -> frozenset[str]:
        """Keys whose blocks are believed."""
        return frozenset(self.keys) | {head.key_id for head in self.heads if head.key_id}


def read_heads(text: bytes) -> list[Head]:
    """Return every head in a file. Raises: Unusable when there is none."""
    found: list[Head] = []
    try:
        try:
            documents = [orjson.loads(text)]
        except ValueError:
            documents = [orjson.loads(line) for line in text.splitlines() if LOGGED.encode() in line]
        for document in documents:
            if "heads" in document:
                found += [_published(head, document["keys"]) for head in document["heads"]]
            elif document.get("event") == LOGGED:
                found.append(_logged(document))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Unusable("--head: no head as the admin port publishes it or the log has it") from error
    if not found:
        raise Unusable("--head: holds no head")
    return found


def _published(head: dict[str, Any], keys: list[dict[str, str]]) -> Head:
    environment = ENVIRONMENTS.get(head["environment"], head["environment"])
    members = {name: value for name, value in head.items() if name not in ("operator_code", "environment")}
    block = read_block(members)
    extent = Extent(
        operator_code=head["operator_code"], environment=environment, start_us=None, end_us=None, as_of=block.number
    )
    findings = Findings()
    Chain(extent=extent, keys=_keys(keys), findings=findings, asked=frozenset()).check_header(block)
    if findings.count:
        raise Unusable(f"--head: {findings.kept[0].detail}")
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
        raise Unusable("--head: a public key has another fingerprint")
    return found


def _logged(line: dict[str, Any]) -> Head:
    return Head(
        operator_code=line["operator"],
        environment=line["environment"],
        number=int(line["block"]),
        hash=line["block_hash"],
        key_id=line["key_id"],
    )


def trust_of(heads: Iterable[Head], pems: Iterable[bytes], extent: Extent) -> Trust:
    """Return what of all this is about the export's chain. Raises: Unusable."""
    given = list(heads)
    own = [
        head for head in given if (head.operator_code, head.environment) == (extent.operator_code, extent.environment)
    ]
    if given and not own:
        raise Unusable(f"--head: holds no head of {extent.operator_code} in {extent.environment}")
    try:
        keys = [public_key_of_pem(pem) for pem in pems]
    except ValueError as error:
        raise Unusable("--key: no Ed25519 public key in SPKI PEM") from error
    return Trust(heads=tuple(sorted(own, key=lambda head: head.number)), keys={fingerprint(key): key for key in keys})


def hold_against(chain: Chain, trust: Trust, findings: Findings) -> tuple[list[str], list[str]]:
    """Hold the chain against what is trusted. Returns: what is proven by it, and what is not, in sentences."""
    proven: list[str] = []
    open_ends: list[str] = []
    whole = 0 if chain.whole_until is None else chain.whole_until.number
    first = 0 if chain.first is None else chain.first.number
    vouched = 0
    for head in trust.heads:
        if first <= head.number <= whole and head.number in chain.hashes:
            if chain.hashes[head.number] != head.hash:
                detail = f"block {head.number} is another than the head that was kept: the chain was made anew"
                findings.add(Code.HEAD_DIFFERS, detail)
            else:
                vouched = head.number
        elif head.number > whole and not chain.reaches_horizon:
            detail = f"the kept head is block {head.number}; the export ends at block {whole}"
            findings.add(Code.CUT_OFF, detail)
    if vouched:
        proven.append(f"up to block {vouched} nothing is cut off: a head that was kept elsewhere says the same")
    _hold_keys(chain, trust, vouched, findings)
    if not chain.count:
        open_ends.append("anything: the chain has no block yet")
    elif not vouched and not trust.heads:
        open_ends.append(
            "the end: whether later records were cut off is only shown by --head with a head kept elsewhere"
        )
    elif vouched < whole:
        open_ends.append(f"the end after block {vouched}: the head that was kept is older than the export")
    elif not vouched:
        open_ends.append("the end: the kept heads are of another time than this range and vouch for the key alone")
    if not trust.key_ids and not vouched and chain.count:
        names = ", ".join(sorted(key_id for key_id in chain.signed_by if key_id))
        open_ends.append(f"that the key {names} is the gateway's: compare it, or give --head or --key")
    return proven, open_ends


def _hold_keys(chain: Chain, trust: Trust, vouched: int, findings: Findings) -> None:
    """Blocks behind the newest head that fits are believed for their key alone."""
    if not trust.key_ids:
        return
    for key_id, newest in chain.signed_by.items():
        if newest <= vouched or key_id in trust.key_ids:
            continue
        if key_id:
            detail = f"block {newest} is signed by {key_id}, which no head or --key vouches for"
        else:
            detail = f"block {newest} is not signed, while others are"
        findings.add(Code.BLOCK_NOT_SIGNED, detail)
