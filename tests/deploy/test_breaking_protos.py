"""A change of the protos that breaks callers of the last release is refused, by the real buf in a clone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools import check_protos

ROOT = Path(__file__).resolve().parents[2]
FIELD = "string leaderboard_id = "
pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(shutil.which("npm") is None, reason="buf comes from npm, which is not installed"),
    pytest.mark.skipif(not (ROOT / ".git").exists(), reason="this is no repository"),
]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A repository of the current protos, as version 1.0.0, with the installed buf."""
    if check_protos.install() is None:
        pytest.skip("buf cannot be installed with npm")
    for name in ("protos", "tools"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(ROOT / "buf.yaml", tmp_path / "buf.yaml")
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / check_protos.INSTALLED.name).symlink_to(check_protos.INSTALLED)
    (tmp_path / ".gitignore").write_text("build\n")
    commit(tmp_path)
    git(tmp_path, "tag", "v1.0.0")
    return tmp_path


def test_the_same_protos_break_nobody(clone: Path) -> None:
    """Two comparisons: with the commit before, and with the release."""
    done = check(clone)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "buf breaking against v1.0.0: ok" in done.stdout


def test_a_change_that_main_already_has_still_breaks_the_release(clone: Path) -> None:
    """It got past the comparison with main, and is found before it is published."""
    path = clone / "protos/gateway/v1/events.proto"
    text = path.read_text()
    assert FIELD in text
    path.write_text(text.replace(FIELD, "bytes leaderboard_id = ", 1))
    commit(clone)
    done = check(clone)
    assert done.returncode == 1
    assert "buf breaking against v1.0.0: FAILED" in done.stdout
    assert "leaderboard_id" in done.stdout + done.stderr


def check(clone: Path) -> subprocess.CompletedProcess[str]:
    """Run the check in the clone."""
    environ = {**os.environ, "PYTHONPATH": str(clone), "PROTOS_AGAINST": "HEAD"}
    command = [sys.executable, "tools/check_protos.py"]
    return subprocess.run(command, cwd=clone, env=environ, capture_output=True, text=True, timeout=200, check=False)


def commit(folder: Path) -> None:
    """Commit everything."""
    if not (folder / ".git").exists():
        git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "-A")
    git(folder, "-c", "user.name=test", "-c", "user.email=test@example.org", "commit", "-q", "-m", "state")


def git(folder: Path, *arguments: str) -> None:
    """Run git."""
    subprocess.run(["git", *arguments], cwd=folder, check=True, timeout=60)
