"""Runs `phoenix-gateway` as a program of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.gateway_process import ROOT


def gateway_command(
    *arguments: str | Path,
    environ: Mapping[str, str] | None = None,
    folder: Path | None = None,
    timeout_s: float = 50.0,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, with nothing of this process's environment but what a program needs.

    Args: `folder`: where it runs; None: here.
    """
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-m", "gateway", *arguments],
        env={**kept, "PYTHONPATH": str(ROOT), **(environ or {})},
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def evidence_command(*arguments: str, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
    """Run `phoenix-gateway evidence ...`."""
    return gateway_command("evidence", *arguments, timeout_s=timeout_s)
