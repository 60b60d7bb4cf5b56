"""Helm, for the tests of the chart."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.go_tools import NotBuilt, installed

HELM = ("helm.sh/helm/v3/cmd/helm", "v3.19.0")


@pytest.fixture(scope="module")
def helm() -> Path:
    try:
        return installed(*HELM, slow=True)
    except NotBuilt as reason:
        pytest.skip(str(reason))
