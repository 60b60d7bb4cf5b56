"""Proves an export: reads its records in several processes, its chain here, and holds one against the other.

1. What the export says that it is about, and its public keys.
2. Every record: form, hashes, the stored signature with the stored key.
3. Every block: hash, signature, place; its lines against the records.
4. The chain against heads and keys that were kept elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

from gateway.evidence_verify.blocks import Chain, Extent, entries_of, read_block
from gateway.evidence_verify.export_file import ExportFile
from gateway.evidence_verify.findings import Code, Finding, Findings, Proof, Unusable
from gateway.evidence_verify.ledger import Ledger
from gateway.evidence_verify.records import Part, Records, read_part
from gateway.evidence_verify.trust import Trust, hold_against, read_heads, trust_of

Progress = Callable[[str, float], None]
"""Hears what is being done, and how much of all is done, from 0 to 1."""
_RECORDS_SHARE = 0.85


def prove(
    export: Path,
    *,
    heads: Sequence[bytes] = (),
    key_pems: Sequence[bytes] = (),
    platform_pems: Sequence[bytes] = (),
    processes: int | None = None,
    progress: Progress = lambda what, share: None,
) -> Proof:
    """Return what can be said of an export.

    Args: `heads`: contents of files that hold heads; `key_pems`: public keys that the gateway is known to sign with;
    `platform_pems`: public keys of Phoenix, for records older than the keeping of keys; `processes`: None for one a
    core. Raises: Unusable, OSError.
    """
    known_heads = [head for text in heads for head in read_heads(text)]
    findings = Findings()
    file = ExportFile(export)
    try:
        extent, keys = file.head_lines(findings)
        trust = trust_of(known_heads, key_pems, extent)
        platform = trust_of((), platform_pems, extent).keys
        ledger, signed = Ledger(extent, findings), Records()
        parts = [
            Part(
                path=export,
                begin=begin,
                end=end,
                operator_code=extent.operator_code,
                environment=extent.environment,
                keys={**keys, **platform},
            )
            for begin, end in file.parts()
        ]
        for part, records in zip(parts, _read_all(parts, processes), strict=True):
            _note_findings(records, ledger, findings)
            ledger.take_records(records)
            _add_up(signed, records)
            progress(f"{len(ledger):,} records", _RECORDS_SHARE * part.end / file.size)
        chain = _hold_chain(file, extent, {**keys, **trust.keys}, trust, ledger, findings, progress)
        ledger.finish()
    finally:
        file.close()
    chain.finish()
    proven, not_proven = hold_against(chain, trust, findings)
    if not findings.count and "" in chain.signed_by and not trust.heads:
        raise Unusable("the chain is not signed: give a head that was kept elsewhere (--head)")
    return Proof(
        operator_code=extent.operator_code,
        environment=extent.environment,
        records=len(ledger),
        signatures=signed.signatures,
        blocks=chain.count,
        changes=chain.changes,
        proven=(*_proven(extent, len(ledger), signed, chain), *proven),
        not_proven=(*_not_proven(extent, signed, chain), *not_proven),
        findings=findings,
        gateway_keys=tuple(sorted(key_id for key_id in chain.signed_by if key_id)),
        platform_keys=tuple(sorted(signed.key_ids)),
    )


def _read_all(parts: Sequence[Part], processes: int | None) -> Iterator[Records]:
    """Yield what the parts hold, in their order; reads ahead no further than the processes need."""
    count = processes or os.cpu_count() or 1
    if count == 1 or len(parts) < 2 * count:
        yield from map(read_part, parts)
        return
    # Spawned: the progress bar has a thread, with which a fork is unsafe.
    with ProcessPoolExecutor(count, mp_context=get_context("spawn")) as pool:
        rest = iter(parts)
        running: list[Future[Records]] = [pool.submit(read_part, part) for part in islice(rest, 2 * count)]
        while running:
            yield running.pop(0).result()
            running += [pool.submit(read_part, part) for part in islice(rest, 1)]


def _note_findings(records: Records, ledger: Ledger, findings: Findings) -> None:
    for finding in records.findings.kept:
        findings.take(
            Finding(
                code=finding.code,
                detail=finding.detail,
                operation_id=finding.operation_id,
                line=finding.line + ledger.line_count,
            )
        )
    findings.count += records.findings.count - len(records.findings.kept)


def _add_up(all_of: Records, records: Records) -> None:
    all_of.signatures += records.signatures
    all_of.unchecked += records.unchecked
    all_of.key_ids |= records.key_ids
    all_of.omitted_bodies += records.omitted_bodies


def _hold_chain(
    file: ExportFile,
    extent: Extent,
    keys: dict[str, bytes],
    trust: Trust,
    ledger: Ledger,
    findings: Findings,
    progress: Progress,
) -> Chain:
    asked = frozenset(head.number for head in trust.heads)
    chain = Chain(extent=extent, keys=keys, findings=findings, asked=asked)
    for members in file.block_lines(findings):
        try:
            block = read_block(members)
        except ValueError as error:
            findings.add(Code.UNREADABLE, f"a block is not as an export writes it: {error}")
            continue
        if chain.take(block, 0) and block.entries is not None:
            try:
                for entry in entries_of(block):
                    ledger.take_entry(entry, must=block.number <= extent.as_of)
            except (ValueError, TypeError, IndexError):
                findings.add(Code.BLOCK_CHANGED, f"block {block.number}: a line is of a form that is not known here")
        share = min(block.number / max(extent.as_of, 1), 1.0)
        progress(f"{chain.count:,} blocks", _RECORDS_SHARE + (1 - _RECORDS_SHARE) * share)
    return chain


def _proven(extent: Extent, records: int, signed: Records, chain: Chain) -> list[str]:
    if not chain.count:
        return []
    told = [f"none of {records:,} records was changed, added, taken out or reordered since it was chained"]
    if signed.signatures:
        told.append(f"{signed.signatures:,} stored signatures verify over the stored bodies with the stored keys")
    return told


def _not_proven(extent: Extent, signed: Records, chain: Chain) -> list[str]:
    told = []
    for key_id, count in sorted(signed.unchecked.items()):
        told.append(f"{count:,} stored signatures: the export has no public key {key_id}; give it with --platform-key")
    if signed.omitted_bodies:
        told.append(f"{signed.omitted_bodies:,} conflicting calls: their bodies are too large for an export")
    if extent.start_us is not None:
        told.append("what was received before the range")
    whole = chain.whole_until
    if whole is not None and whole.number < extent.as_of and chain.reaches_horizon:
        told.append(
            f"that no later change of these records is missing after block {whole.number}, an hour after the range"
        )
    return told
