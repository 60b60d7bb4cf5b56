"""Helm, for the tests of the chart."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.slow_programs import find_helm
from tools.go_tools import NotBuilt


@pytest.fixture(scope="module")
def helm() -> Path:
    try:
        return find_helm()
    except NotBuilt as reason:
        pytest.skip(str(reason))
