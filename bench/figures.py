"""Figures that are not call rates: start time and memory, forgeries that wait for a key, the generators' capacity."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from bench import payloads
from bench.cases import TOKEN_SERVICE, WALLET_SERVICE
from bench.checks import Faults
from bench.loads import with_frames, with_h2load
from bench.servers import (
    Setup,
    start_empty,
    start_fixed_response,
    start_gateway,
    start_upstream,
    upstream_counts,
)
from gateway.v1 import wallet_pb2

IDLE_S = 2.0
FEWEST_WAITING = 2000
AGREEMENT = (0.9, 1.1)


@dataclass(slots=True, kw_only=True)
class Figure:
    """One figure. `details` are further numbers.

    limit: is shown; a measure adds a fault if its limit is a bar.
    aim: the value to aim at.
    """

    name: str
    value: float
    unit: str
    about: str
    limit: float | None = None
    aim: float | None = None
    details: dict[str, Any] = field(default_factory=dict)
    faults: Faults = field(default_factory=Counter)


Measure = Callable[[Setup, float], list[Figure]]


def start_and_idle(setup: Setup, seconds: float) -> list[Figure]:
    """Start time and idle memory of `phoenix-gateway serve`, median of three starts."""
    upstream = start_upstream(setup)
    starts: list[float] = []
    sizes: list[float] = []
    for _ in range(3):
        gateway = start_gateway(setup, upstream, TOKEN_SERVICE)
        starts.append(gateway.started_in_s)
        time.sleep(IDLE_S)  # measure the idle state
        sizes.append(gateway.process.rss_mib())
        gateway.process.stop()
    return [
        Figure(
            name="start_to_serving",
            value=statistics.median(starts),
            unit="s",
            about="from the start of the process to SERVING, with files in the page cache",
            limit=3.0,
            details={"starts_s": starts},
        ),
        Figure(
            name="idle_rss",
            value=statistics.median(sizes),
            unit="MiB",
            about=f"resident memory {IDLE_S:.0f} s after the start",
            limit=120.0,
            details={"rss_mib": sizes},
        ),
    ]


def forged_waiting(setup: Setup, seconds: float) -> list[Figure]:
    """CPU time per forged call that waits for a key fetch: 2,000 calls in flight, cooldown 2 s.

    On the grpc front, which has no gate: the other one refuses most of 2,000 calls that go on at the same moment.
    """
    setup = replace(setup, front="grpc")
    upstream = start_upstream(setup)
    changes = {"PREDICTION_PLATFORM_KEY": None, "PREDICTION_KEY_COOLDOWN": "2"}
    gateway = start_gateway(setup, upstream, WALLET_SERVICE, changes)
    path = f"/{WALLET_SERVICE}/VerifyWallet"
    fetches_before = upstream_counts(upstream).get("key_fetches", 0)
    measured, answers = with_frames(
        setup,
        gateway,
        path,
        payloads.forged(setup.credentials, 1),
        max(seconds, 6.0),
        cycle=True,
        keep=True,
        connections=FEWEST_WAITING // 100,
        streams=100,
    )
    fetches = upstream_counts(upstream).get("key_fetches", 0) - fetches_before
    verdicts = Counter(
        wallet_pb2.WalletVerdict.Name(wallet_pb2.VerifyWalletResponse.FromString(answer).verdict) for answer in answers
    )
    faults = measured.faults
    for verdict, count in verdicts.items():
        if verdict not in ("WALLET_VERDICT_BAD_SIGNATURE", "WALLET_VERDICT_KEY_UNAVAILABLE"):
            faults[verdict] += count
    if fetches > max(seconds, 6.0) / 2 + 3:
        faults["more fetches than the cooldown allows"] += fetches
    return [
        Figure(
            name="forged_waiting_cpu",
            value=measured.cpu_us,
            unit="µs/call",
            about="server CPU per forged call that waits for a key fetch, 2,000 in flight, cooldown 2 s",
            details={
                "calls": measured.calls,
                "verdicts": dict(verdicts),
                "fetches": fetches,
                "p99_ms": measured.p99_ms,
            },
            faults=faults,
        )
    ]


def generators(setup: Setup, seconds: float) -> list[Figure]:
    """The rate of both generators against a fixed response, and whether they agree on comparator E."""
    request = payloads.mint_launch_jwt(setup.credentials, 1)
    path, size = f"/{TOKEN_SERVICE}/MintLaunchJWT", 600
    fixed = start_fixed_response(setup, size)
    own, _ = with_frames(setup, fixed, path, request, seconds, cycle=True, keep=False)
    theirs = with_h2load(setup, fixed, path, request[0], seconds, (size, size))
    fixed.process.stop()
    empty = start_empty(setup, size, "asyncio")
    pairs = []
    faults = own.faults + theirs.faults
    for _ in range(3):
        ours, _ = with_frames(setup, empty, path, request, seconds, cycle=True, keep=False)
        judge = with_h2load(setup, empty, path, request[0], seconds, (size, size))
        faults += ours.faults + judge.faults
        pairs.append((ours, judge))
    ours_per_s = statistics.median(ours.per_s for ours, _ in pairs)
    # Compare within a pair, because its two runs follow each other. Separate medians hide changes between pairs.
    agreements = [ours.per_s / judge.per_s if judge.per_s else 0.0 for ours, judge in pairs]
    agreement = statistics.median(agreements)
    disagreement: Faults = Counter()
    if not AGREEMENT[0] <= agreement <= AGREEMENT[1]:
        disagreement[
            "the generators differ by more than 10 %, so results of bench.load_generator are as uncertain"
        ] += 1
    return [
        Figure(
            name="generator_capacity",
            value=own.per_s,
            unit="calls/s",
            about="bench.load_generator against a fixed response",
            details={
                "h2load_per_s": theirs.per_s,
                "load_busy": own.load_busy,
                "target_busy": own.server_busy,
                "times_E": own.per_s / ours_per_s if ours_per_s else None,
            },
            faults=faults,
        ),
        Figure(
            name="generator_agreement",
            value=agreement,
            unit="of h2load",
            about="bench.load_generator divided by h2load, both against E, median of three pairs: 0.9 to 1.1",
            details={
                "pairs": agreements,
                "frames_per_s": [ours.per_s for ours, _ in pairs],
                "h2load_per_s": [judge.per_s for _, judge in pairs],
                "load_busy": [ours.load_busy for ours, _ in pairs],
                "answers_per_receive": [ours.answers_per_receive for ours, _ in pairs],
            },
            faults=disagreement,
        ),
    ]


FIGURES: dict[str, Measure] = {
    "start_and_idle": start_and_idle,
    "forged_waiting": forged_waiting,
    "generators": generators,
}
NEED_GATEWAY = frozenset({"start_and_idle", "forged_waiting"})
