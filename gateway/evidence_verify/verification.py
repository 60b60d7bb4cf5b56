"""The verification of an export, step by step. Several processes read the records; this process reads the chain.

1. Read the scope of the export and its public keys.
2. Check every record: format, hashes, and the stored signature with the stored key.
3. Check every block: hash, signature and position. Compare its entries with the records.
4. Compare the chain with heads and keys that were stored elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

from gateway.evidence_verify.blocks import ChainChecker, Extent, entries_of, read_block
from gateway.evidence_verify.chain_comparison import ChainComparison
from gateway.evidence_verify.export_file import ExportFile
from gateway.evidence_verify.findings import Code, Finding, Findings, UnusableInput, Verification
from gateway.evidence_verify.records import Part, RecordColumns, read_part
from gateway.evidence_verify.trust_anchors import TrustAnchors, check_against_anchors, read_heads, select_anchors

Progress = Callable[[str, float], None]
"""Called with a description of the progress, and the share that is done, from 0 to 1."""
_RECORDS_SHARE = 0.85


def verify_export(
    export: Path,
    *,
    heads: Sequence[bytes] = (),
    key_pems: Sequence[bytes] = (),
    platform_pems: Sequence[bytes] = (),
    processes: int | None = None,
    progress: Progress = lambda what, share: None,
) -> Verification:
    """Verify an export and return the result.

    Args:
        heads: contents of files with heads that were stored elsewhere.
        key_pems: known public keys of the gateway.
        platform_pems: public keys of Phoenix that are not in the export, for old records.
        processes: number of processes; None means one for each core.
    Raises: UnusableInput, OSError.
    """
    known_heads = [head for text in heads for head in read_heads(text)]
    findings = Findings()
    file = ExportFile(export)
    try:
        extent, keys = file.read_scope_and_keys(findings)
        anchors = select_anchors(known_heads, key_pems, extent)
        platform = select_anchors((), platform_pems, extent).keys
        comparison, signed = ChainComparison(extent, findings), RecordColumns()
        parts = [
            Part(
                path=file.path,
                begin=begin,
                end=end,
                operator_code=extent.operator_code,
                environment=extent.environment,
                keys={**keys, **platform},
            )
            for begin, end in file.parts()
        ]
        for part, records in zip(parts, _read_all(parts, processes), strict=True):
            _merge_findings(records, comparison, findings)
            comparison.add_records(records)
            _add_totals(signed, records)
            progress(f"{len(comparison):,} records", _RECORDS_SHARE * part.end / file.size)
        chain = _check_chain(file, extent, {**keys, **anchors.keys}, anchors, comparison, findings, progress)
        comparison.finish()
    finally:
        file.close()
    chain.finish()
    proven, not_proven = check_against_anchors(chain, anchors, findings)
    if not findings.count and "" in chain.signed_by and not anchors.heads:
        raise UnusableInput("the chain is not signed: give a head that was stored elsewhere (--head)")
    return Verification(
        operator_code=extent.operator_code,
        environment=extent.environment,
        records=len(comparison),
        signatures=signed.signatures,
        blocks=chain.count,
        changes=chain.changes,
        proven=(*_proven(extent, len(comparison), signed, chain), *proven),
        not_proven=(*_not_proven(extent, signed, chain), *not_proven),
        findings=findings,
        gateway_keys=tuple(sorted(key_id for key_id in chain.signed_by if key_id)),
        platform_keys=tuple(sorted(signed.key_ids)),
        line_ends=file.line_ends,
    )


def _read_all(parts: Sequence[Part], processes: int | None) -> Iterator[RecordColumns]:
    """Yield the records of the parts in order. Reads ahead only as far as the processes need."""
    count = processes or os.cpu_count() or 1
    if count == 1 or len(parts) < 2 * count:
        yield from map(read_part, parts)
        return
    # spawn, because the progress bar has a thread and a fork of a process with threads is unsafe.
    with ProcessPoolExecutor(count, mp_context=get_context("spawn")) as pool:
        rest = iter(parts)
        running: list[Future[RecordColumns]] = [pool.submit(read_part, part) for part in islice(rest, 2 * count)]
        while running:
            yield running.pop(0).result()
            running += [pool.submit(read_part, part) for part in islice(rest, 1)]


def _merge_findings(records: RecordColumns, comparison: ChainComparison, findings: Findings) -> None:
    for finding in records.findings.kept:
        findings.append(
            Finding(
                code=finding.code,
                detail=finding.detail,
                operation_id=finding.operation_id,
                line=finding.line + comparison.line_count,
            )
        )
    findings.count += records.findings.count - len(records.findings.kept)


def _add_totals(all_of: RecordColumns, records: RecordColumns) -> None:
    all_of.signatures += records.signatures
    all_of.unchecked += records.unchecked
    all_of.key_ids |= records.key_ids
    all_of.omitted_bodies += records.omitted_bodies


def _check_chain(
    file: ExportFile,
    extent: Extent,
    keys: dict[str, bytes],
    anchors: TrustAnchors,
    comparison: ChainComparison,
    findings: Findings,
    progress: Progress,
) -> ChainChecker:
    head_numbers = frozenset(head.number for head in anchors.heads)
    chain = ChainChecker(extent=extent, keys=keys, findings=findings, head_numbers=head_numbers)
    for members in file.read_blocks(findings):
        try:
            block = read_block(members)
        except ValueError as error:
            findings.add(Code.UNREADABLE, f"a block does not have the format of an export: {error}")
            continue
        if chain.add_block(block, 0) and block.entries is not None:
            try:
                for entry in entries_of(block):
                    comparison.check_entry(entry, required=block.number <= extent.as_of)
            except (ValueError, TypeError, IndexError):
                findings.add(Code.BLOCK_CHANGED, f"block {block.number}: an entry has an unknown format")
        share = min(block.number / max(extent.as_of, 1), 1.0)
        progress(f"{chain.count:,} blocks", _RECORDS_SHARE + (1 - _RECORDS_SHARE) * share)
    return chain


def _proven(extent: Extent, records: int, signed: RecordColumns, chain: ChainChecker) -> list[str]:
    if not chain.count:
        return []
    sentences = [f"none of {records:,} records was changed, added, removed or reordered since it entered the chain"]
    if signed.signatures:
        sentences.append(f"{signed.signatures:,} stored signatures verify over the stored bodies with the stored keys")
    return sentences


def _not_proven(extent: Extent, signed: RecordColumns, chain: ChainChecker) -> list[str]:
    sentences = []
    for key_id, count in sorted(signed.unchecked.items()):
        sentences.append(
            f"{count:,} stored signatures: the public key {key_id} is missing; give it with --platform-key"
        )
    if signed.omitted_bodies:
        sentences.append(f"{signed.omitted_bodies:,} conflicting calls: their bodies are too large for an export")
    if extent.start_us is not None:
        sentences.append("operations received before the range")
    whole = chain.contiguous_until
    if whole is not None and whole.number < extent.as_of and chain.reaches_horizon:
        sentences.append(
            f"that no change of these records is missing after block {whole.number}, an hour after the range"
        )
    return sentences
