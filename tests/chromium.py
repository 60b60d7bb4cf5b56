"""A real browser for tests: Chromium of this machine, and Playwright in an environment of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.document_lines import ROOT
from tests.pypi_programs import INSTALL_WITHIN_S, installed
from tools.go_tools import NotBuilt

PLAYWRIGHT = "1.65.2"
AXE = "0.1.7"
"""axe-playwright-python, which brings axe-core."""


def chromium() -> str:
    """Return a browser of this machine, installed by its package manager if it is missing, or skip."""
    names = ("chromium", "chromium-browser", "google-chrome")
    if not any(map(shutil.which, names)):
        command = ". tools/packages.sh && install_package chromium chromium chromium -"
        subprocess.run(["sh", "-c", command], cwd=ROOT, capture_output=True, timeout=INSTALL_WITHIN_S, check=False)
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium: install the package chromium")
    return found


def look(script: Path, *arguments: str | Path, within_s: float) -> dict[str, Any]:
    """Run a script that looks with a browser, and return the JSON that it prints; skip where Playwright is missing."""
    requirements = (f"playwright=={PLAYWRIGHT}", f"axe-playwright-python=={AXE}")
    try:
        python = installed(f"playwright-{PLAYWRIGHT}-axe-{AXE}", *requirements) / "bin" / "python"
    except NotBuilt as reason:
        pytest.skip(str(reason))
    command = [str(part) for part in (python, script, chromium(), *arguments)]
    environ = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=within_s, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found
