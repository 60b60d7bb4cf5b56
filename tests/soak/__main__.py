"""Runs a soak: `python -m tests.soak [--minutes N] [--seed N] [--json FILE]`. Ends with 1 if a check fails, and
with 2 if PostgreSQL or Redis is not installed.

Everything is put under load, a random fault is injected every minute, and at the end `verdict.py` checks what must
hold. The seed decides the order of the faults and their choices.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")  # before grpc is loaded: as in tests/conftest.py

from tests.postgres_process import PostgresMissing
from tests.redis_process import RedisMissing
from tests.soak.faults import ALL, in_random_order, skipped
from tests.soak.load import Callers, unexpected
from tests.soak.site import Site, started
from tests.soak.verdict import Check, Sample, Window, judge, sample

SETTLE_S = 3.0
"""After a fault has ended and every service is ready: until calls are judged again."""
_SAMPLE_EVERY_S = 2.0


class Soak:
    """One run."""

    def __init__(self, site: Site, seed: int, *, seconds: float, every_s: float, only: str | None = None) -> None:
        self._site = site
        self._rng = random.Random(seed)
        self._seconds = seconds
        self._every_s = every_s
        self._only = only
        self._began_at = time.monotonic()
        self.windows: list[Window] = []
        self.samples: list[Sample] = []
        self.troubles: list[str] = []
        self.callers = Callers(site, random.Random(seed))

    async def run(self) -> None:
        """Load, faults, and the end of the load."""
        for name, why in skipped(self._site).items():
            self._say(f"skipped: {name}, {why}")
        sampling = asyncio.create_task(self._sample())
        async with self.callers:
            self._say(f"load: {self.callers.mixed.rate_per_s:.0f} mixed calls/s beside events, moves and watchers")
            until = time.monotonic() + self._seconds
            await asyncio.sleep(self._every_s)
            names: list[str] = []
            while time.monotonic() < until:
                names = names or ([self._only] if self._only else in_random_order(self._site, self._rng))
                began = time.monotonic()
                await self._fault(names.pop())
                await asyncio.sleep(max(SETTLE_S, began + self._every_s - time.monotonic()))
            self._say("the faults are over; waiting for the last answers")
        sampling.cancel()
        if sampling.done() and not sampling.cancelled():
            self.troubles.append(f"samples: {sampling.exception()!r}")

    async def _fault(self, name: str) -> None:
        began = time.monotonic()
        calls = len(self.callers.mixed.ended)
        try:
            await ALL[name](self._site, self._rng)
            took_s = await self._site.wait_recovered()
            self._say(f"{name}: ready {took_s:.1f} s after its end")
        except Exception as error:
            self.troubles.append(f"{name}: {type(error).__name__}: {error}")
            self._say(f"{name}: {self.troubles[-1]}")
        meanwhile = self.callers.mixed.ended[calls:]
        self._say(f"  {len(meanwhile)} calls meanwhile, {unexpected(meanwhile).total()} of them failed")
        self.windows.append(Window(name=name, began_at=began - 0.5, over_at=time.monotonic() + SETTLE_S))

    async def _sample(self) -> None:
        while True:
            self.samples += [found for gateway in self._site.gateways if (found := sample(gateway)) is not None]
            await asyncio.sleep(_SAMPLE_EVERY_S)

    def _say(self, text: str) -> None:
        print(f"[{time.monotonic() - self._began_at:6.1f} s] {text}", flush=True)


async def soak(seed: int, *, seconds: float, every_s: float, only: str | None = None) -> tuple[list[Check], Soak]:
    """Run a soak; return its checks."""
    with tempfile.TemporaryDirectory(prefix="pgw-soak-") as directory:
        folder = Path(directory)
        async with started(folder) as site:
            run = Soak(site, seed, seconds=seconds, every_s=every_s, only=only)
            await run.run()
            checks = await judge(site, run.callers, run.windows, run.samples, folder)
            figure = f"{len(run.windows) - len(run.troubles)} of {len(run.windows)}" + "".join(
                f"; {trouble}" for trouble in run.troubles
            )
            last = run.callers.unfinished
            checks.insert(0, Check(name="last answers", holds=not last, figure="; ".join(last) or "all there"))
            holds = bool(run.windows) and not run.troubles
            checks.insert(0, Check(name="recovered from faults", holds=holds, figure=figure))
            if not all(check.holds for check in checks):
                for number, gateway in enumerate(site.gateways):
                    kept = Path(tempfile.gettempdir()) / f"pgw-soak-{seed}-{number}.log"
                    kept.write_text(gateway.log_text)
                    print(f"log of gateway {number}: {kept}")
            return checks, run


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print the table, write the report; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description="Load with random faults.")
    parser.add_argument("--minutes", type=float, default=30.0, help="how long faults are injected (30)")
    parser.add_argument("--every", type=float, default=60.0, help="seconds from one fault to the next (60)")
    parser.add_argument(
        "--seed", type=int, default=random.SystemRandom().randrange(1 << 32), help="decides the order of the faults"
    )
    parser.add_argument(
        "--only", choices=sorted(ALL), metavar="FAULT", help=f"one fault each time: {', '.join(sorted(ALL))}"
    )
    parser.add_argument("--json", type=Path, help="write the report to this file")
    options = parser.parse_args(arguments)
    print(f"seed {options.seed}, {options.minutes:g} minutes", flush=True)
    try:
        checks, run = asyncio.run(
            soak(options.seed, seconds=options.minutes * 60, every_s=options.every, only=options.only)
        )
    except (PostgresMissing, RedisMissing) as missing:
        print(f"{missing}. `make test` installs it where it can.", file=sys.stderr)
        return 2
    width = max(len(check.name) for check in checks)
    for check in checks:
        print(f"{'ok  ' if check.holds else 'FAIL'}  {check.name:{width}}  {check.figure}")
    holds = all(check.holds for check in checks)
    print(f"{'passed' if holds else 'FAILED'}; again with SOAK_SEED={options.seed} SOAK_MINUTES={options.minutes:g}")
    if options.json is not None:
        report = {
            "seed": options.seed,
            "minutes": options.minutes,
            "passed": holds,
            "calls_per_s": run.callers.mixed.rate_per_s,
            "faults": [window.name for window in run.windows],
            "checks": [asdict(check) for check in checks],
        }
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
