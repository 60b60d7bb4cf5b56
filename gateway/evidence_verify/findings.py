"""Findings of a verification, and its result. Pure."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

MOST_FINDINGS = 1000
"""Findings beyond this number are counted but not listed."""


class UnusableInput(Exception):
    """The input cannot be verified. The text says why."""


class Code(enum.Enum):
    """The kind of a finding."""

    UNREADABLE = "unreadable"
    """A line does not have the format of an export: it was changed or truncated."""
    CHANGED = "changed"
    """A record differs from the chain."""
    DELETED = "deleted"
    """The chain has a record, or a part of one, that the export does not have."""
    ADDED = "added"
    """The export has a record, or a part of one, that the chain does not have."""
    REORDERED = "reordered"
    REPEATED = "repeated"
    BODY_CHANGED = "body_changed"
    """A body does not match its hash."""
    SIGNATURE_INVALID = "signature_invalid"
    """A stored webhook signature does not verify over the stored body with the stored key."""
    KEY_CHANGED = "key_changed"
    """A public key does not match its fingerprint."""
    BLOCK_CHANGED = "block_changed"
    BLOCK_MISSING = "block_missing"
    BLOCK_NOT_SIGNED = "block_not_signed"
    """No trusted key signed the block."""
    HEAD_DIFFERS = "head_differs"
    """A block differs from a stored head: the chain was rebuilt."""
    CUT_OFF = "cut_off"
    """The end of the chain is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One fault. `line` counts from 1; 0 means no line. `operation_id` is "" if the fault concerns no record."""

    code: Code
    detail: str
    operation_id: str = ""
    line: int = 0


@dataclass(slots=True, kw_only=True)
class Findings:
    """Collects findings: counts all and keeps the first ones."""

    kept: list[Finding] = field(default_factory=list)
    count: int = 0

    def add(self, code: Code, detail: str, *, operation_id: str = "", line: int = 0) -> None:
        """Add a finding."""
        self.append(Finding(code=code, detail=detail, operation_id=operation_id, line=line))

    def append(self, finding: Finding) -> None:
        """Add a finding."""
        self.count += 1
        if len(self.kept) < MOST_FINDINGS:
            self.kept.append(finding)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """The result. `proven` and `not_proven` are sentences. No findings means that nothing was tampered with."""

    operator_code: str
    environment: str
    records: int
    signatures: int
    blocks: int
    changes: int
    proven: tuple[str, ...]
    not_proven: tuple[str, ...]
    findings: Findings
    gateway_keys: tuple[str, ...]
    platform_keys: tuple[str, ...]
    line_ends: tuple[str, ...] = ()
    """What a copy or a mail did to the line ends, in words. It is no tampering."""
