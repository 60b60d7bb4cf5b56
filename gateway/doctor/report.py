"""What the doctor says: findings, the exit code they amount to, and their form as JSON."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

EXIT_FINE = 0
EXIT_FAULT = 1
EXIT_UNREADABLE = 2
"""The configuration cannot be read, so nothing else was looked at."""


class State(enum.Enum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What one check found, and what to do about it; both of one line, neither with a secret."""

    state: State
    what: str
    fix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A verdict with the check's name and what it looked at: a host, tenant, operator, setting; may be empty."""

    name: str
    subject: str
    state: State
    what: str
    fix: str = ""

    def as_dict(self) -> dict[str, str]:
        """Return the finding for JSON."""
        return {
            "name": self.name,
            "subject": self.subject,
            "state": self.state.value,
            "what": self.what,
            "fix": self.fix,
        }


def ok(what: str, fix: str = "") -> Verdict:
    """All is well; `fix` may tell what could be better."""
    return Verdict(state=State.OK, what=what, fix=fix)


def warning(what: str, fix: str) -> Verdict:
    """It works, or may work, but should be looked at."""
    return Verdict(state=State.WARNING, what=what, fix=fix)


def fault(what: str, fix: str) -> Verdict:
    """It does not work."""
    return Verdict(state=State.FAULT, what=what, fix=fix)


def skipped(what: str) -> Verdict:
    """It was not looked at; `what` says why."""
    return Verdict(state=State.SKIPPED, what=what)


def found(name: str, subject: str, verdict: Verdict) -> Finding:
    """Return the finding of a verdict."""
    return Finding(name=name, subject=subject, state=verdict.state, what=verdict.what, fix=verdict.fix)


def exit_code(findings: Iterable[Finding]) -> int:
    """Return 1 where anything is a fault, else 0: warnings do not fail a deployment."""
    return EXIT_FAULT if any(finding.state is State.FAULT for finding in findings) else EXIT_FINE


def as_json(findings: Sequence[Finding], code: int, **further: Any) -> dict[str, Any]:
    """Return the whole report for machines."""
    counts = {state.value: sum(finding.state is state for finding in findings) for state in State}
    return {"exit_code": code, "counts": counts, "findings": [finding.as_dict() for finding in findings], **further}
