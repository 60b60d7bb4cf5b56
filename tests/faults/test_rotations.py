"""Every kind of key rotates under full load, replicas are killed in between, and no call fails.

Twice each in `make test`, a hundred times in `make test-faults`.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from gateway.v1 import keys_pb2
from tests.faults.rotation_load import BOARD, Load
from tests.faults.rotation_setup import KEPT_S, KINDS, RotationBench
from tests.fixtures_postgres import postgres_server
from tests.postgres_process import PostgresProcess
from tests.redis_process import RedisProcess
from tests.sandbox_process import SandboxProcess

__all__ = ["postgres_server"]


@pytest.fixture
def bench(postgres_server: PostgresProcess, redis_server: RedisProcess, tmp_path: Path) -> Iterator[RotationBench]:
    """Two replicas that serve."""
    with ExitStack() as stack:
        sandbox = stack.enter_context(SandboxProcess())
        sandbox.control("POST", f"/boards/{sandbox.environ['TENANT_ID']}/{BOARD}", {})
        sandbox.control("POST", "/settings", {"record": False})
        store = {
            "DATABASE_URL": postgres_server.create_database(f"rotations_{uuid.uuid4().hex}"),
            "REDIS_URL": redis_server.url,
        }
        made = RotationBench(tmp_path, sandbox, store)
        for gateway in made.gateways:
            stack.enter_context(gateway)
            gateway.wait_serving("phoenix.gateway.v1.WalletService")
        yield made


async def rotate(bench: RotationBench, times: int, *, pause_s: float = 0.0) -> Load:
    """Rotate this often under load and check the results. Return the load for further checks."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    async with Load(bench.gateways, bench.sandbox, keep_s=KEPT_S, pause_s=pause_s) as load:
        for _ in range(times):
            await bench.rotate(rng)
            assert [] == load.failed[:10]
            assert [] == load.verifier.unverified[:3]
    print(dict(load.done), "verified with published keys:", load.verifier.verified)
    assert [] == load.failed
    assert [] == load.verifier.unverified
    called = {"MintLaunchJWT", "MintTenantJWT", "SubmitEvent", "GetLeaderboard", "CheckAdminHealth", "VerifyWallet"}
    assert called | {"GetOperatorSettings", "MintAdminJWT"} <= set(load.done)
    for gateway in bench.gateways:
        listed = bench.versions_listed(gateway)
        assert dict.fromkeys(KINDS, times + 1) == {kind: sum(one.kind == kind for one in listed) for kind in KINDS}
        assert [] == [one.note for one in listed if one.note and one.state == keys_pb2.KEY_STATE_ACTIVE]
    return load


@pytest.mark.timeout(180)
async def test_two_rotations_of_each_kind_fail_no_call(bench: RotationBench) -> None:
    """0 failed calls, 0 tokens that a verifier following the published keys could not verify."""
    await rotate(bench, 2, pause_s=0.02)  # other tests run beside it


@pytest.mark.faults
@pytest.mark.timeout(1800)
async def test_a_hundred_rotations_of_each_kind_fail_no_call(bench: RotationBench) -> None:
    """The same, in full."""
    load = await rotate(bench, 100)
    # Webhooks in flight during the platform key's rotation: 503, never a final refusal.
    assert load.done["WALLET_VERDICT_KEY_RETIRED"] > 0
