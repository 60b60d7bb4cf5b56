"""What can be wrong with an export, and what a check of it says in the end. Pure."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

MOST_FINDINGS = 1000
"""So many are listed; all are counted."""


class Unusable(Exception):
    """The input is not what it should be, so that nothing can be said of it; the text says why."""


class Code(enum.Enum):
    """What is wrong."""

    UNREADABLE = "unreadable"
    """A line is not as an export writes it: changed, or cut off."""
    CHANGED = "changed"
    """A record says something else than the chain."""
    DELETED = "deleted"
    """The chain has a record, or a part of one, that is not in the export."""
    ADDED = "added"
    """A record, or a part of one, that the chain has not."""
    REORDERED = "reordered"
    REPEATED = "repeated"
    BODY_CHANGED = "body_changed"
    """A body has not the hash that stands beside it."""
    SIGNATURE_INVALID = "signature_invalid"
    """A stored webhook signature does not verify over the stored body with the stored key."""
    KEY_CHANGED = "key_changed"
    """A public key has not the fingerprint that stands beside it."""
    BLOCK_CHANGED = "block_changed"
    BLOCK_MISSING = "block_missing"
    BLOCK_NOT_SIGNED = "block_not_signed"
    """Not signed by a key that is trusted."""
    HEAD_DIFFERS = "head_differs"
    """The chain has another block than the head that was kept: it was made anew."""
    CUT_OFF = "cut_off"
    """The chain went on; the export does not have that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong. `line`: of the export, from 1; 0: none in particular. `operation_id` "": no record's."""

    code: Code
    detail: str
    operation_id: str = ""
    line: int = 0


@dataclass(slots=True, kw_only=True)
class Findings:
    """Collects findings; counts all, keeps the first ones."""

    kept: list[Finding] = field(default_factory=list)
    count: int = 0

    def add(self, code: Code, detail: str, *, operation_id: str = "", line: int = 0) -> None:
        """Take one in."""
        self.take(Finding(code=code, detail=detail, operation_id=operation_id, line=line))

    def take(self, finding: Finding) -> None:
        """Take one in."""
        self.count += 1
        if len(self.kept) < MOST_FINDINGS:
            self.kept.append(finding)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """The result. `proven` and `not_proven` are sentences; nothing was tampered with if there are no findings."""

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
