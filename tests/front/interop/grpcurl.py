"""Finds grpcurl: on the PATH, or built with Go."""

from __future__ import annotations

import shutil
from pathlib import Path

from tools import go_tools

GRPCURL_VERSION = "v1.9.3"
MODULE = "github.com/fullstorydev/grpcurl/cmd/grpcurl"


def find() -> Path:
    """Return its path. Raises: NotBuilt."""
    on_path = shutil.which("grpcurl")
    return go_tools.installed(MODULE, GRPCURL_VERSION, slow=True) if on_path is None else Path(on_path)
