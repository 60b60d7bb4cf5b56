"""What the configuration says of itself: its faults and warnings as findings. A value is never among them."""

from __future__ import annotations

from collections.abc import Callable

from gateway.config import Config, ConfigInvalid, Fault
from gateway.doctor.report import Finding, Verdict, fault, found, ok, warning

NAME = "configuration"
_SEE = "see docs/configuration.md"


def of_invalid(invalid: ConfigInvalid) -> list[Finding]:
    """Return a finding for each fault of a configuration that cannot be used, then its warnings."""
    return [_finding(one, fault) for one in invalid.faults] + [_finding(one, warning) for one in invalid.warnings]


def of_valid(config: Config) -> list[Finding]:
    """Return that it can be used, for what, and what it warns of."""
    tenants = ", ".join(tenant.keys.tenant_id for tenant in config.tenants) or "none"
    operators = ", ".join(
        f"{operator.keys.operator_code}/{operator.keys.environment.value}" for operator in config.operators
    )
    callers = (
        f"{len(config.callers.by_name)} in the policy" if config.callers.is_configured else "local, for everything"
    )
    said = ok(f"complete; tenants: {tenants}; operators: {operators or 'none'}; callers: {callers}")
    return [found(NAME, "", said)] + [_finding(one, warning) for one in config.warnings]


def _finding(one: Fault, make: Callable[[str, str], Verdict]) -> Finding:
    return found(NAME, one.setting, make(*_what_and_fix(one)))


def _what_and_fix(one: Fault) -> tuple[str, str]:
    """Part a fault into what is wrong and what to do; rooms below say both in one sentence."""
    if one.remedy:
        return one.problem, one.remedy
    for separator in ("; ", ". "):
        what, parted, fix = one.problem.partition(separator)
        if parted and fix:
            return what, fix.rstrip(".")
    return one.problem, _SEE
