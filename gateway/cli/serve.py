"""`phoenix-gateway serve`: read the configuration, then serve; faults go to standard error, one a line."""

from __future__ import annotations

import os
import sys
from pathlib import Path

CONFIG_INVALID = 2
NOT_STARTED = 1


def run(config_file: Path | None) -> int:
    """Serve until told to stop; return the exit code."""
    from gateway.config import ConfigInvalid, load

    if config_file is not None:
        os.environ["GATEWAY_CONFIG"] = str(config_file)  # in the environment, so that workers see it too
    try:
        config = load()
    except ConfigInvalid as invalid:
        print(invalid, file=sys.stderr)
        return CONFIG_INVALID
    from gateway.server.run import run as serve

    return serve(config)
