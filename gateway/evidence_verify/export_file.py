"""The file of an export: finds the lines of the chain, and divides the file into parts for parallel reading.

The first bytes of a line tell its kind, so the records of a large file are parsed only once, by the readers of the
parts.
"""

from __future__ import annotations

import itertools
import mmap
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from gateway.evidence_verify import line_ends
from gateway.evidence_verify.blocks import Extent
from gateway.evidence_verify.export_format import EXTENT, KEY, first_invalid_member, to_microseconds
from gateway.evidence_verify.findings import Code, Findings, UnusableInput
from gateway.evidence_verify.records import CHAIN_LINE, ENVIRONMENTS
from gateway.evidence_verify.signatures import fingerprint

PART_BYTES = 4 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainLine:
    """A line of the chain: its kind and its members."""

    kind: str
    members: dict[str, Any]


class ExportFile:
    """One export, open for reading. Raises: UnusableInput, OSError.

    `path`: the file to read; a copy with other line ends if those of the export were changed, which `line_ends` says.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._copy: Path | None = None
        self._open()
        self.line_ends = line_ends.changes_of(self._map)
        if self.line_ends:
            self.path = self._copy = line_ends.restored(self._stream)
            self._close()
            try:
                self._open()
            except UnusableInput:
                self._copy.unlink()
                raise
        self._chain_lines = list(self._find_chain_lines())

    def close(self) -> None:
        """Close the file, and remove the copy."""
        self._close()
        if self._copy is not None:
            self._copy.unlink(missing_ok=True)

    def _open(self) -> None:
        self._stream = self.path.open("rb")
        self.size = self._stream.seek(0, 2)
        if not self.size:
            self._stream.close()
            raise UnusableInput("the export is empty")
        self._map = mmap.mmap(self._stream.fileno(), 0, access=mmap.ACCESS_READ)

    def _close(self) -> None:
        self._map.close()
        self._stream.close()

    def parts(self) -> list[tuple[int, int]]:
        """Return (begin, end) of each part. A part ends at the end of a line and has about PART_BYTES."""
        cuts = [0]
        while cuts[-1] < self.size:
            end = self._map.find(b"\n", min(cuts[-1] + PART_BYTES, self.size) - 1) + 1
            cuts.append(end or self.size)
        return list(itertools.pairwise(cuts))

    def read_scope_and_keys(self, findings: Findings) -> tuple[Extent, dict[str, bytes]]:
        """Return the scope of the export, and its public keys by id."""
        extents: list[Extent] = []
        keys: dict[str, bytes] = {}
        for line in self._parse_lines(("chain_extent", "chain_key"), findings):
            if line.kind == "chain_extent":
                extents.append(_extent(line.members))
                continue
            try:
                if first_invalid_member(line.members, KEY) is not None:
                    raise ValueError
                key_id, key = _key(line.members)
            except (ValueError, KeyError, TypeError):
                findings.add(Code.UNREADABLE, "a public key does not have the format of an export")
                continue
            if fingerprint(key) != key_id:
                findings.add(Code.KEY_CHANGED, f"public key {key_id}: its fingerprint does not match")
            else:
                keys[key_id] = key
        if not extents:
            raise UnusableInput(
                "the export has no chain: create it with `evidence export --format jsonl` at a gateway that has one"
            )
        if len(extents) > 1:
            findings.add(Code.ADDED, "the export states its scope twice")
        return extents[0], keys

    def read_blocks(self, findings: Findings) -> Iterator[dict[str, Any]]:
        """Yield the members of each block in the order of the file."""
        for line in self._parse_lines(("chain_block",), findings):
            yield line.members

    def _find_chain_lines(self) -> Iterator[tuple[int, int]]:
        begin = 0 if self._map[: len(CHAIN_LINE)] == CHAIN_LINE else self._next_chain_line(0)
        while begin >= 0:
            end = self._map.find(b"\n", begin) + 1 or self.size
            yield begin, end
            begin = end if self._map[end : end + len(CHAIN_LINE)] == CHAIN_LINE else self._next_chain_line(end - 1)

    def _next_chain_line(self, after: int) -> int:
        found = self._map.find(b"\n" + CHAIN_LINE, after)
        return -1 if found < 0 else found + 1

    def _parse_lines(self, kinds: tuple[str, ...], findings: Findings) -> Iterator[ChainLine]:
        for begin, end in self._chain_lines:
            head = self._map[begin : begin + 24]
            if not head.startswith(tuple(f'{{"{kind}"'.encode() for kind in kinds)):
                if kinds[0] == "chain_extent" and not head.startswith(b'{"chain_block"'):
                    findings.add(Code.UNREADABLE, "a chain line has an unknown kind")
                continue
            text = self._map[begin:end]
            try:
                document = orjson.loads(text)
                (kind, members), *more = document.items()
                if more or kind not in kinds or not isinstance(members, dict):
                    raise ValueError
                if orjson.dumps(document) + b"\n" != text:
                    raise ValueError
            except (ValueError, AttributeError):
                findings.add(
                    Code.UNREADABLE, f"a line of kind {kinds[-1]} is truncated or does not have the format of an export"
                )
                continue
            yield ChainLine(kind=kind, members=members)


def _extent(members: dict[str, Any]) -> Extent:
    try:
        if first_invalid_member(members, EXTENT) is not None:
            raise ValueError
        start, end = members.get("start_time"), members.get("end_time")
        return Extent(
            operator_code=members["operator_code"],
            environment=ENVIRONMENTS[members["environment"]],
            start_us=None if start is None else to_microseconds(start),
            end_us=None if end is None else to_microseconds(end),
            as_of=int(members.get("as_of", "0")),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise UnusableInput("the scope of the export cannot be read") from error


def _key(members: dict[str, Any]) -> tuple[str, bytes]:
    key = b64decode(members["public_key"], validate=True)
    if len(key) != 32:
        raise ValueError
    return members["key_id"], key
