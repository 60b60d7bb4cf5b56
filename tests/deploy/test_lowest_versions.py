"""The wheel's metadata tells the truth about its oldest dependencies: with exactly those, the smoke test passes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.gateway_process import of_sandbox
from tests.sandbox_process import SandboxProcess

ROOT = Path(__file__).resolve().parents[2]
UV = ROOT / ".tools" / "bin" / "uv"
pytestmark = [pytest.mark.timeout(300), pytest.mark.faults]


def test_the_smoke_test_passes_with_the_lowest_versions(sandbox: SandboxProcess, tmp_path: Path) -> None:
    """Outside the checkout, as a user of the wheel has it, over both fronts."""
    if not UV.exists():
        pytest.skip("uv is not in .tools/bin: run make setup")
    environment = tmp_path / "venv"
    run([UV, "build", "--wheel", "--quiet", "--out-dir", tmp_path, ROOT])
    (wheel,) = tmp_path.glob("*.whl")
    run([UV, "venv", "--quiet", "--python", sys.executable, environment])
    python = environment / "bin" / "python"
    run([UV, "pip", "install", "--quiet", "--python", python, "--resolution", "lowest-direct", wheel])
    folder = tmp_path / "work"
    folder.mkdir()
    for front in ("http2", "grpc"):
        settings = {**of_sandbox(sandbox.urls, sandbox.environ), "GATEWAY_FRONT": front}
        command = [environment / "bin" / "phoenix-gateway", "smoke", "--control", sandbox.urls["control"], "--json"]
        report = json.loads(run(command, settings, folder))
        assert report["ok"], report


def run(command: Sequence[object], settings: Mapping[str, str] | None = None, folder: Path = ROOT) -> str:
    """Run to the end and return what it printed. Raises: AssertionError with its messages."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("VIRTUAL_ENV", "PYTHON"))}
    done = subprocess.run(
        [str(each) for each in command],
        cwd=folder,
        env={**kept, **(settings or {})},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout
