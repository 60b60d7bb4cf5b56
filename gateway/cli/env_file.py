"""`phoenix-gateway --env-file FILE COMMAND`: points one run of any command at what the file describes.

Every setting comes from the file. Those of the environment and of `.env` are left out, so that nothing of another
gateway mixes with it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import typer

UNUSABLE = 2


def use(path: Path) -> None:
    """Put the content of the file into the environment in place of what it holds. Exits if the file is unusable."""
    from gateway.config import names
    from gateway.config.faults import Faults
    from gateway.config.sources import read_env_file

    faults = Faults()
    found = read_env_file(path, faults)
    if not faults.found and not found:
        faults.add(str(path), "is missing or empty", "check the path; `make run` writes var/run/env")
    if faults.found:
        for fault in faults.found:
            print(f"--env-file: {fault}", file=sys.stderr)
        raise typer.Exit(UNUSABLE)
    for name in list(os.environ):
        if name in names.ENVIRONMENT_NAMES or name.startswith(names.OF_COMMANDS):
            del os.environ[name]
    os.environ.update(found, **{names.ENV_FILE: str(path.absolute())})
