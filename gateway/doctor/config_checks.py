"""The faults and warnings of the configuration as findings. They never show a setting's value."""

from __future__ import annotations

from collections.abc import Callable

from gateway.config import Config, ConfigInvalid, Fault
from gateway.doctor.report import Finding, Result, fault, finding_of, ok, warning

NAME = "configuration"
_SEE = "see docs/configuration.md"


def of_invalid(invalid: ConfigInvalid) -> list[Finding]:
    """Return a finding for each fault of an unusable configuration, then one for each warning."""
    return [_finding(one, fault) for one in invalid.faults] + [_finding(one, warning) for one in invalid.warnings]


def of_valid(config: Config) -> list[Finding]:
    """Return a summary of a usable configuration, and its warnings."""
    tenants = ", ".join(tenant.keys.tenant_id for tenant in config.tenants) or "none"
    operators = ", ".join(
        f"{operator.keys.operator_code}/{operator.keys.environment.value}" for operator in config.operators
    )
    callers = (
        f"{len(config.callers.by_name)} in the policy" if config.callers.is_configured else "local, for everything"
    )
    summary = ok(f"complete; tenants: {tenants}; operators: {operators or 'none'}; callers: {callers}")
    return [finding_of(NAME, "", summary)] + [_finding(one, warning) for one in config.warnings]


def _finding(one: Fault, make: Callable[[str, str], Result]) -> Finding:
    return finding_of(NAME, one.setting, make(*_problem_and_fix(one)))


def _problem_and_fix(one: Fault) -> tuple[str, str]:
    """Split a fault into the problem and the fix. Faults from the rooms below hold both in one sentence."""
    if one.remedy:
        return one.problem, one.remedy
    for separator in ("; ", ". "):
        what, separated, fix = one.problem.partition(separator)
        if separated and fix:
            return what, fix.rstrip(".")
    return one.problem, _SEE
