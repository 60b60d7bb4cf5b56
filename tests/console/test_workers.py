"""The console of a gateway of several workers shows the calls of all of them, whichever answers."""

from __future__ import annotations

import re
import time

import pytest

from gateway.v1 import keys_pb2, keys_pb2_grpc
from tests.console.console_gateway import Browser, console_gateway
from tests.sandbox_process import SandboxProcess

CONNECTIONS = 12
STEP_S = 30
pytestmark = [pytest.mark.faults, pytest.mark.timeout(180)]


def test_the_calls_of_all_workers_are_on_each_page(sandbox_process: SandboxProcess) -> None:
    """A step is added every 30 s, so the test takes so long."""
    with console_gateway(sandbox_process, GATEWAY_WORKERS="2") as gateway:
        for _ in range(CONNECTIONS):  # the kernel spreads connections over the workers
            with gateway.open_channel() as channel:
                keys_pb2_grpc.KeyServiceStub(channel).ListKeys(keys_pb2.ListKeysRequest())
        deadline = time.monotonic() + 2.5 * STEP_S
        seen: set[int] = set()
        while seen != {CONNECTIONS} and time.monotonic() < deadline:
            time.sleep(1)
            pages = [Browser(gateway.admin_address).get("").words for _ in range(8)]
            found = [re.search(r"KeyService/ListKeys (\d+) ", page) for page in pages]
            seen = {0 if one is None else int(one[1]) for one in found}
        assert seen == {CONNECTIONS}
