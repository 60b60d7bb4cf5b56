"""The short form of `make soak`: three minutes, a fault every 20 s."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.gateway_process import ROOT

JUDGED_ON_A_QUIET_MACHINE = {"p99 between faults"}


@pytest.mark.faults
@pytest.mark.timeout(1200)
def test_three_minutes_of_faults(tmp_path: Path) -> None:
    """Everything that a soak checks holds, but for speed, which says nothing beside other tests."""
    report = tmp_path / "soak.json"
    arguments = ["--minutes", "3", "--every", "20", "--json", str(report)]
    done = subprocess.run([sys.executable, "-m", "tests.soak", *arguments], cwd=ROOT, check=False)
    assert report.exists(), f"the soak ended with {done.returncode}"
    checks = json.loads(report.read_text())["checks"]
    assert [one for one in checks if not one["holds"] and one["name"] not in JUDGED_ON_A_QUIET_MACHINE] == []
