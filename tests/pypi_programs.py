"""Programs that PyPI has, installed on demand below the user's cache: too large for the project's environment."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from pathlib import Path

from tools.go_tools import NotBuilt, cache_folder

INSTALL_WITHIN_S = 300


def installed(name: str, *requirements: str) -> Path:
    """Return a Python environment with these requirements, made if it is missing. Raises: NotBuilt.

    Args: `name`: of the folder, with the versions in it; `requirements`: as in a requirements file.
    """
    home = cache_folder() / f"{name}-py{sys.version_info[0]}{sys.version_info[1]}"
    home.parent.mkdir(parents=True, exist_ok=True)
    done = home / "installed"
    with home.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            try:
                subprocess.run([sys.executable, "-m", "venv", home], check=True, capture_output=True, timeout=120)
                (home / "requirements").write_text("".join(f"{one}\n" for one in requirements))
                subprocess.run(
                    [
                        home / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
                        "-r", home / "requirements",
                    ],
                    check=True, capture_output=True, timeout=INSTALL_WITHIN_S, stdin=subprocess.DEVNULL,
                )  # fmt: skip
            except (OSError, subprocess.SubprocessError) as error:
                raise NotBuilt(f"{name} cannot be installed from PyPI ({type(error).__name__})") from None
            done.touch()
    return home
