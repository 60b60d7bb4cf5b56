"""A configuration for a sandbox, the doctor's findings for it, and a search among them."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

from gateway.config import Config, load
from gateway.doctor.database_checks import database
from gateway.doctor.diagnose import diagnose
from gateway.doctor.report import Finding, Result, State
from gateway.resilience.clock import Clock, SystemClock
from gateway.resilience.deadline import Deadline
from tests.config.valid_settings import WHOLE
from tests.gateway_process import of_sandbox
from tests.sandbox_process import SandboxProcess

NO_ENV_FILE = Path("/nonexistent/.env")


class OffsetClock(SystemClock):
    """The host's clock, set wrongly by so many seconds."""

    __slots__ = ("_offset_s",)

    def __init__(self, offset_s: float) -> None:
        self._offset_s = offset_s

    def now(self) -> float:
        return super().now() + self._offset_s


def settings_of(sandbox: SandboxProcess, tmp_path: Path) -> dict[str, str]:
    """Settings under which a gateway before this sandbox would start, with nothing wrong."""
    (tmp_path / "data").mkdir(mode=0o700, exist_ok=True)
    return {
        **of_sandbox(sandbox.urls, sandbox.environ),
        "GATEWAY_LISTEN": "127.0.0.1:0",
        "GATEWAY_ADMIN_LISTEN": "127.0.0.1:0",
        "GATEWAY_DATA_DIR": str(tmp_path / "data"),
    }


def config_of(settings: Mapping[str, str]) -> Config:
    """The configuration that these settings make, with no `.env` file."""
    return load(settings, env_file=NO_ENV_FILE)


async def findings_of(
    settings: Mapping[str, str], *, clock: Clock | None = None, limit_s: float = 5.0
) -> list[Finding]:
    """What the doctor finds under these settings."""
    return await diagnose(config_of(settings), clock or SystemClock(), limit_s=limit_s)


async def look_at_database(**settings: str) -> Result:
    """The doctor's findings for the configured database."""
    return await database(config_of({**WHOLE, **settings}), Deadline.after(5, SystemClock()))


def pick(findings: Sequence[Finding], name: str, subject: str = "") -> Finding:
    """The one finding of this name whose subject holds these words."""
    found = [finding for finding in findings if finding.name == name and subject in finding.subject]
    assert len(found) == 1, f"{name} ({subject}): {found}"
    return found[0]


def faults_in(findings: Sequence[Finding]) -> list[str]:
    """The names of the checks that ended as faults, in order."""
    return [finding.name for finding in findings if finding.state is State.FAULT]


def canary() -> str:
    """A unique value that is valid in a header, a URL and a file."""
    return f"CANARY{secrets.token_hex(12)}"
