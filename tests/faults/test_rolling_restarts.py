"""Two gateways are restarted one after the other, again and again, under calls: no client sees it."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.rolling_restarts import restart_under_calls, two_gateways
from tests.sandbox_process import SandboxProcess


@pytest.mark.faults
@pytest.mark.parametrize(("front", "restarts"), [("http2", 50), ("grpc", 10)])
def test_rolling_restarts_cost_no_call(sandbox: SandboxProcess, front: str, restarts: int) -> None:
    """Neither with the published service config nor without retries."""
    with two_gateways(sandbox, front) as gateways:
        with_config, without = restart_under_calls(gateways, restarts)
    assert with_config.failures == Counter()
    assert without.failures == Counter()
    assert min(with_config.calls, without.calls) > 100 * restarts
