"""The faults of a soak: each is injected, lasts, and ends. `skipped` says which ones this machine does not allow."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import signal
from collections.abc import Awaitable, Callable, Mapping

from tests.soak.clocked_gateway import set_clock
from tests.soak.site import Site

LASTS_S = 5.0
_CLOCK_STEP_S = 600
_LAST_BYTES = 1 << 20
Inject = Callable[[Site, random.Random], Awaitable[None]]


async def kill_gateway(site: Site, rng: random.Random) -> None:
    """SIGKILL one gateway, and start it again."""
    await _restart(site, rng, signal.SIGKILL)


async def stop_gateway(site: Site, rng: random.Random) -> None:
    """SIGTERM one gateway, and start it again."""
    await _restart(site, rng, signal.SIGTERM)


async def freeze_gateway(site: Site, rng: random.Random) -> None:
    """Freeze one gateway for a while."""
    pid = rng.choice(site.gateways).pid
    os.kill(pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(LASTS_S)
    finally:
        os.kill(pid, signal.SIGCONT)


async def kill_postgres(site: Site, _rng: random.Random) -> None:
    """Kill PostgreSQL as a power cut does. It recovers from its log."""
    await asyncio.to_thread(site.postgres.restart)


async def freeze_postgres(site: Site, _rng: random.Random) -> None:
    """Freeze PostgreSQL for a while."""
    site.postgres.pause()
    try:
        await asyncio.sleep(LASTS_S)
    finally:
        site.postgres.resume()


async def cut_postgres(site: Site, _rng: random.Random) -> None:
    """Cut the connections to PostgreSQL with their answers, and refuse new ones for a while."""
    site.proxy.is_cut = True
    await asyncio.sleep(LASTS_S)
    site.proxy.is_cut = False


async def swallow_postgres(site: Site, _rng: random.Random) -> None:
    """Forget the flows to PostgreSQL, as a failover behind a NAT does; new ones work."""
    site.proxy.swallow_idle()
    await asyncio.sleep(LASTS_S)


async def delay_postgres(site: Site, _rng: random.Random) -> None:
    """Put PostgreSQL 40 ms away for a while, by toxiproxy where it can be built."""
    if site.toxics is not None:
        await _spoil_postgres(site, "latency", both_ways=True, latency=20)
        return
    site.proxy.delay_s = 0.02
    await asyncio.sleep(LASTS_S)
    site.proxy.delay_s = 0.0


async def reset_postgres(site: Site, _rng: random.Random) -> None:
    """Reset every connection to PostgreSQL, old or new, for a while."""
    await _spoil_postgres(site, "reset_peer", timeout=0)


async def narrow_postgres(site: Site, _rng: random.Random) -> None:
    """Let 2 KB a second through to PostgreSQL and back, for a while."""
    await _spoil_postgres(site, "bandwidth", both_ways=True, rate=2)


async def _spoil_postgres(site: Site, kind: str, *, both_ways: bool = False, **attributes: int) -> None:
    assert site.toxics is not None
    await asyncio.to_thread(site.toxics.spoil, kind, both_ways, **attributes)
    try:
        await asyncio.sleep(LASTS_S)
    finally:
        await asyncio.to_thread(site.toxics.heal)


async def kill_redis(site: Site, _rng: random.Random) -> None:
    """Kill Redis. It comes back empty."""
    await asyncio.to_thread(site.redis.restart)


async def freeze_redis(site: Site, _rng: random.Random) -> None:
    """Freeze Redis for a while."""
    site.redis.pause()
    try:
        await asyncio.sleep(LASTS_S)
    finally:
        site.redis.resume()


async def phoenix_fails(site: Site, rng: random.Random) -> None:
    """A third of Phoenix's answers is an error, lost, cut or late."""
    kinds: list[Mapping[str, object]] = [
        {"kind": "status", "status": 503},
        {"kind": "cut"},
        {"kind": "lose_answer"},
        {"kind": "delay", "delay_ms": 300},
    ]
    await site.sandbox.control_async("POST", "/faults", {"surface": "*", "probability": 0.33, **rng.choice(kinds)})
    await asyncio.sleep(LASTS_S)
    await site.sandbox.control_async("DELETE", "/faults")


async def rotate_keys(site: Site, rng: random.Random) -> None:
    """Rotate every kind of key, with one gateway killed meanwhile."""
    await site.rotation.rotate(rng)


async def change_policy(site: Site, _rng: random.Random) -> None:
    """Change the policy, and change it back."""
    other = {
        "name": '"other"',
        "ids": '["spiffe://soak/other"]',
        "allow": '["tokens.mint.launch"]',
        "operators": '["*"]',
    }
    site.write_policy("\n".join(["", "[[callers]]", *(f"{key} = {value}" for key, value in other.items()), ""]))
    await asyncio.sleep(LASTS_S)
    site.write_policy()


async def move_phoenix_clock(site: Site, rng: random.Random) -> None:
    """Move Phoenix's clock by ten minutes in either direction for a while: it refuses every signature."""
    await site.sandbox.control_async("POST", "/clock", {"offset_s": rng.choice((-1, 1)) * _CLOCK_STEP_S})
    await asyncio.sleep(LASTS_S)
    await site.sandbox.control_async("POST", "/clock", {"offset_s": 0})


async def step_clock(site: Site, rng: random.Random) -> None:
    """Set the clock of one gateway by ten minutes in either direction, and back after a while."""
    file = rng.choice(site.clock_files)
    set_clock(file, rng.choice((-1, 1)) * _CLOCK_STEP_S)
    await asyncio.sleep(LASTS_S)
    set_clock(file, 0)


async def fill_disk(site: Site, _rng: random.Random) -> None:
    """Fill the disk of the audit logs for a while."""
    assert site.disk is not None
    filler = site.disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        os.posix_fallocate(file.fileno(), 0, max(1, shutil.disk_usage(site.disk).free - _LAST_BYTES))
        file.seek(0, os.SEEK_END)
        for _ in range(2 * _LAST_BYTES // 4096):  # until it is full
            file.write(bytes(4096))
    await asyncio.sleep(LASTS_S)
    filler.unlink()


ALL: dict[str, Inject] = {
    one.__name__: one
    for one in (
        *(kill_gateway, stop_gateway, freeze_gateway),
        *(kill_postgres, freeze_postgres, cut_postgres, swallow_postgres, delay_postgres),
        *(reset_postgres, narrow_postgres),
        *(
            kill_redis,
            freeze_redis,
            phoenix_fails,
            rotate_keys,
            change_policy,
            move_phoenix_clock,
            step_clock,
            fill_disk,
        ),
    )
}


def skipped(site: Site) -> dict[str, str]:
    """Return the faults that this machine does not allow, and why."""
    found = {"fill_disk": "no tmpfs can be mounted here"} if site.disk is None else {}
    if site.toxics is None:
        found |= dict.fromkeys(("reset_postgres", "narrow_postgres"), "toxiproxy is built with Go, which is missing")
    return found


def in_random_order(site: Site, rng: random.Random) -> list[str]:
    """Return every fault once, in an order of this seed: none is left out of a long soak."""
    names = [name for name in ALL if name not in skipped(site)]
    rng.shuffle(names)
    return names


async def _restart(site: Site, rng: random.Random, number: signal.Signals) -> None:
    gateway = rng.choice(site.gateways)
    await asyncio.to_thread(gateway.stop, number)
    await asyncio.to_thread(gateway.start)
