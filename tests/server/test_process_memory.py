"""The memory of a running gateway: no core dumps, and no process of the same user can read it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.gateway_process import GatewayProcess, of_sandbox
from tests.sandbox_process import SandboxProcess

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="PR_SET_DUMPABLE is Linux's")
WORKER = "import sys; open(f'/proc/{sys.argv[1]}/mem', 'rb')"


@pytest.fixture
def python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A Python for gateways and for who looks at them: the same user, and not root's right to look at everything."""
    real = sys.executable
    if os.geteuid() == 0:
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            pytest.skip("root sees everything, and there is no setpriv to give that up")
        wrapper = tmp_path / "python"
        wrapper.write_text(f'#!/bin/sh\nexec {setpriv} --bounding-set -sys_ptrace {real} "$@"\n')
        wrapper.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(wrapper))
    return sys.executable


def can_look(python: str, pid: int) -> bool:
    """Whether another process of this user can open the memory of that one."""
    looked = subprocess.run([python, "-c", WORKER, str(pid)], capture_output=True, text=True, timeout=20, check=False)
    assert looked.returncode == 0 or "PermissionError" in looked.stderr, looked.stderr
    return looked.returncode == 0


def core_limits(pid: int) -> tuple[str, str]:
    """The soft and the hard limit on core dumps."""
    (line,) = [one for one in Path(f"/proc/{pid}/limits").read_text().splitlines() if one.startswith("Max core file")]
    soft, hard = line.split()[4:6]
    return soft, hard


def children_of(pid: int) -> list[int]:
    """Its child processes."""
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.timeout(120)
def test_a_serving_process_cannot_be_looked_into(python: str, sandbox_process: SandboxProcess) -> None:
    """Neither the only process nor the workers of several nor who keeps them."""
    settings = of_sandbox(sandbox_process.urls, sandbox_process.environ)
    with GatewayProcess({**settings, "GATEWAY_WORKERS": "2"}) as gateway:
        pids = [gateway.pid, *children_of(gateway.pid)]
        assert 3 == len(pids)
        assert [("0", "0")] * 3 == [core_limits(pid) for pid in pids]
        assert [False] * 3 == [can_look(python, pid) for pid in pids]


@pytest.mark.timeout(60)
def test_a_debugger_may_look_where_the_setting_says_so(python: str, sandbox_process: SandboxProcess) -> None:
    """`GATEWAY_DUMPABLE`: for development; there are no core dumps even so."""
    settings = of_sandbox(sandbox_process.urls, sandbox_process.environ)
    with GatewayProcess({**settings, "GATEWAY_DUMPABLE": "true"}) as gateway:
        assert can_look(python, gateway.pid)
        assert ("0", "0") == core_limits(gateway.pid)
