"""What tests of clients in other languages share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import typescript_client
from tools.go_tools import NotBuilt


@pytest.fixture(scope="session")
def typescript() -> Path:
    """The folder of the built TypeScript client. Skips without Node or npm's registry."""
    try:
        return typescript_client.built()
    except NotBuilt as missing:
        pytest.skip(str(missing))
