"""`make setup` in two terminals at once, as in docs/start.md."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from pathlib import Path

import pytest

from tools.generate_protos import ROOT

PROJECT = '[project]\nname = "empty"\nversion = "0"\nrequires-python = ">=3.11"\n'
LOCK = """version = 1
revision = 3
requires-python = ">=3.11"

[[package]]
name = "empty"
version = "0"
source = { virtual = "." }
"""
WAITS = "setup: waits for another one in this folder"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project without packages, with the setup of this one."""
    (tmp_path / "tools").mkdir()
    for name in ("setup.sh", "packages.sh", "find_python.sh"):
        shutil.copy(ROOT / "tools" / name, tmp_path / "tools")
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    (tmp_path / "uv.lock").write_text(LOCK)
    return tmp_path


def start(project: Path) -> subprocess.Popen[str]:
    """Start a setup; its output is a pipe."""
    return subprocess.Popen(
        ["sh", str(project / "tools" / "setup.sh")],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def test_a_second_setup_waits_for_the_first(project: Path) -> None:
    """It says so, and does nothing until the lock is free."""
    with (project / "tools" / "setup.sh").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        second = start(project)
        try:
            assert second.stdout is not None
            assert second.stdout.readline() == f"{WAITS}\n"
            assert not (project / ".tools").exists()
        finally:
            second.kill()
            second.communicate()


@pytest.mark.faults
@pytest.mark.timeout(300)
def test_two_setups_at_once(project: Path) -> None:
    """Both end well, the second with what the first installed. Needs a registry with uv."""
    both = [start(project), start(project)]
    printed = [process.communicate(timeout=240)[0] for process in both]
    if any("No matching distribution" in text for text in printed):
        pytest.skip("no registry with uv can be reached")
    assert [process.returncode for process in both] == [0, 0], printed
    assert sorted(text.count("installing uv") for text in printed) == [0, 1], printed
    assert sorted(text.count(WAITS) for text in printed) == [0, 1], printed
    assert (project / ".venv" / "bin" / "python").exists()
