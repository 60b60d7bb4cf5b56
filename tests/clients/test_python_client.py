"""Runs the tests of the Python client in processes of their own.

The client's messages and the gateway's are two copies of one contract, and a process can hold only one.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "clients" / "python" / "client_tests"
LONG = {"test_streams.py"}
"""Those that kill and restart gateways."""


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "file",
    [
        pytest.param(path.name, marks=[pytest.mark.faults] if path.name in LONG else [])
        for path in sorted(TESTS.glob("test_*.py"))
    ],
)
def test_the_client(file: str) -> None:
    """All tests of one file pass."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        "--timeout=180",
        str(TESTS / file),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=550, check=False)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2000:]
