"""What the doctor reports: findings, the exit code that follows from them, and their JSON form."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

EXIT_FINE = 0
EXIT_FAULT = 1
EXIT_UNREADABLE = 2
"""The configuration cannot be read, so nothing else was checked."""


class State(enum.Enum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What one check found, and how to fix it. Each is one line without a secret."""

    state: State
    what: str
    fix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A result with the name of its check and its subject: a host, tenant, operator or setting. May be empty."""

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


def ok(what: str, fix: str = "") -> Result:
    """All is well; `fix` may suggest an improvement."""
    return Result(state=State.OK, what=what, fix=fix)


def warning(what: str, fix: str) -> Result:
    """It works, or may work, but needs attention."""
    return Result(state=State.WARNING, what=what, fix=fix)


def fault(what: str, fix: str) -> Result:
    """It does not work."""
    return Result(state=State.FAULT, what=what, fix=fix)


def skipped(what: str) -> Result:
    """It was not checked; `what` says why."""
    return Result(state=State.SKIPPED, what=what)


def finding_of(name: str, subject: str, result: Result) -> Finding:
    """Return the finding for a result."""
    return Finding(name=name, subject=subject, state=result.state, what=result.what, fix=result.fix)


def exit_code(findings: Iterable[Finding]) -> int:
    """Return 1 if anything is a fault, else 0: a warning does not fail a deployment."""
    return EXIT_FAULT if any(finding.state is State.FAULT for finding in findings) else EXIT_FINE


def as_json(findings: Sequence[Finding], code: int, **further: Any) -> dict[str, Any]:
    """Return the whole report for machines."""
    counts = {state.value: sum(finding.state is state for finding in findings) for state in State}
    return {"exit_code": code, "counts": counts, "findings": [finding.as_dict() for finding in findings], **further}
