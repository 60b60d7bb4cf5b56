"""The image: every step of the Dockerfile is taken, and what it leaves serves and passes the smoke test."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy import image_steps
from tests.gateway_process import of_sandbox
from tests.ports import free_port
from tests.sandbox_process import SandboxProcess
from tools import version

PYENV = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
pytestmark = [pytest.mark.timeout(900), pytest.mark.faults]


@pytest.fixture(scope="module")
def image() -> Iterator[image_steps.Image]:
    """What the Dockerfile builds."""
    found = re.search(r":(3\.\d+)\.", image_steps.steps()[0][1])
    assert found is not None
    python = next((str(path) for path in PYENV.glob(f"{found[1]}.*/bin/python")), shutil.which(f"python{found[1]}"))
    if python is None:
        pytest.skip(f"Python {found[1]}, which the image has, is not on this machine")
    with tempfile.TemporaryDirectory(prefix="pgw-image-") as folder:
        made = image_steps.Image(Path(folder), Path(python))
        made.build()
        yield made


def test_it_has_the_gateway_and_no_build_tool(image: image_steps.Image) -> None:
    """The console script, the health check and the packages of the lock; no uv and no development package."""
    done = image.run("phoenix-gateway --version")
    assert done.stdout.startswith(f"phoenix-gateway {version.current()} (Python 3.")
    assert sorted(path.name for path in (image.root / "app").iterdir()) == [".venv", "deploy"]
    listed = {path.name for path in (image.root / "app/.venv").glob("lib/python3.*/site-packages/*.dist-info")}
    names = {name.partition("-")[0] for name in listed}
    assert {"hvac", "botocore", "google_auth"} <= names
    assert not names & {"uv", "pip", "pytest", "mypy", "grpcio_tools", "phoenix_gateway_client"}


def test_the_smoke_test_passes(image: image_steps.Image, sandbox: SandboxProcess) -> None:
    """With nothing written beside the code."""
    before = {path: path.stat().st_mtime_ns for path in (image.root / "app").rglob("*")}
    settings = of_sandbox(sandbox.urls, sandbox.environ)
    done = image.run(f"phoenix-gateway smoke --json --control {sandbox.urls['control']}", **settings)
    assert json.loads(done.stdout)["ok"], done.stdout + done.stderr
    assert {path: path.stat().st_mtime_ns for path in (image.root / "app").rglob("*")} == before


def test_its_command_serves(image: image_steps.Image, sandbox: SandboxProcess) -> None:
    """Until SIGTERM, and the health check of the image passes meanwhile."""
    assert (image.user, image.command) == ("1000:1000", ["phoenix-gateway", "serve"])
    port = free_port()
    settings = {
        **of_sandbox(sandbox.urls, sandbox.environ),
        "GATEWAY_LISTEN": f"127.0.0.1:{free_port()}",
        "GATEWAY_ADMIN_LISTEN": f"127.0.0.1:{port}",
        "GATEWAY_DATA_DIR": str(image.root / "data"),
        "GATEWAY_DRAIN_DELAY": "0",
    }
    check = f"python deploy/healthz.py http://127.0.0.1:{port}/readyz"
    with subprocess.Popen(
        ["sh", "-c", f"exec {shlex.join(image.command)}"],
        cwd=image.root / "app",
        env={**image.environ, **settings},
        stdin=subprocess.DEVNULL,
    ) as process:
        try:
            until = time.monotonic() + 60
            while image.run(check).returncode != 0:
                assert process.poll() is None
                assert time.monotonic() < until
                time.sleep(0.2)
        finally:
            process.terminate()
        assert process.wait(60) == 0
