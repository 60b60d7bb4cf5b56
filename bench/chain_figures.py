"""The cost of metrics, policy, limits and audit: each one alone, and all together.

Subject and comparator are the gateway's server with an empty handler, with the middlewares and without. The bar
applies to the better of two ratios over alternating rounds: calls per second (median) and CPU time per call (lowest).
Both are equal when the server's core is the limit. The CPU time is more stable on a shared machine.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence

from bench import chain_server
from bench.figures import Figure, Measure
from bench.loads import Measurement, with_h2load
from bench.servers import Server, Setup, start_empty, start_printing

BAR = 0.85
ROUNDS = 5
WARM_UP_S = 0.7


def chain_metrics(setup: Setup, seconds: float) -> list[Figure]:
    """Metrics alone, against the same server without it."""
    return _compare(setup, seconds, "chain_metrics", ["metrics"])


def chain_policy(setup: Setup, seconds: float) -> list[Figure]:
    """Identity, policy and kill switch alone, against the same server without them."""
    return _compare(setup, seconds, "chain_policy", ["policy"])


def chain_limits(setup: Setup, seconds: float) -> list[Figure]:
    """Limits of caller and tenant alone, against the same server without them."""
    return _compare(setup, seconds, "chain_limits", ["limits"])


def chain_audit(setup: Setup, seconds: float) -> list[Figure]:
    """The audit log of every call alone, against the same server without it."""
    return _compare(setup, seconds, "chain_audit", ["audit"])


def chain_together(setup: Setup, seconds: float) -> list[Figure]:
    """All four together, against the same server without them and against comparator E on the same loop."""
    return _compare(setup, seconds, "chain_together", chain_server.PARTS, beside_empty=True)


def chain_audit_required(setup: Setup, seconds: float) -> list[Figure]:
    """All four, with a disk sync of each record before its answer. No bar, because this measures the disk."""
    return _compare(setup, seconds, "chain_audit_required", chain_server.PARTS, required=True)


def _compare(
    setup: Setup, seconds: float, name: str, parts: Sequence[str], *, beside_empty: bool = False, required: bool = False
) -> list[Figure]:
    servers = {"without": _start(setup, []), "with": _start(setup, parts, required=required)}
    if beside_empty:
        servers["E_uvloop"] = start_empty(setup, 0, "uvloop")
    for server in servers.values():
        _load(setup, server, WARM_UP_S)
    found: dict[str, list[Measurement]] = {key: [] for key in servers}
    for number in range(ROUNDS):
        # Alternate the order, so that a machine that becomes slower favours no server.
        order = list(servers) if number % 2 == 0 else list(reversed(servers))
        for key in order:
            found[key].append(_load(setup, servers[key], seconds))
    medians = {key: statistics.median(one.per_s for one in loads) for key, loads in found.items()}
    faults: Counter[str] = Counter()
    for loads in found.values():
        for one in loads:
            faults.update(one.faults)
    # The lowest value: other load on the machine only adds to it.
    cpu_us = {key: min((one.cpu_us for one in loads if one.cpu_us > 0), default=0.0) for key, loads in found.items()}
    by_rate = medians["with"] / medians["without"] if medians["without"] else 0.0
    by_cpu = cpu_us["without"] / cpu_us["with"] if cpu_us["with"] else 0.0
    ratio = max(by_rate, by_cpu)
    if ratio < BAR and not required:
        faults[f"below {BAR:g} of the rate without"] += 1
    details: dict[str, object] = {f"{key}_per_s": round(rate) for key, rate in medians.items()}
    details["rounds"] = [round(a.per_s / b.per_s, 3) for a, b in zip(found["with"], found["without"], strict=True)]
    details |= {"by_rate": round(by_rate, 3), "by_cpu": round(by_cpu, 3)}
    details["cpu_us"] = {key: round(spent, 1) for key, spent in cpu_us.items()}
    about = f"rate with {', '.join(parts)} divided by the rate without; at least {BAR:g}"
    if required:
        about = "rate with all and a disk sync of every record, divided by the rate without; no bar"
    return [Figure(name=name, value=ratio, unit="", about=about, limit=None, details=details, faults=faults)]


def _start(setup: Setup, parts: Sequence[str], *, required: bool = False) -> Server:
    arguments = [word for part in parts for word in ("--part", part)] + (["--audit-required"] if required else [])
    return start_printing(setup, "chain_server", ["-m", "bench.chain_server", *arguments], {})


def _load(setup: Setup, server: Server, seconds: float) -> Measurement:
    return with_h2load(setup, server, chain_server.METHOD, b"", seconds, (0, 0))


FIGURES: dict[str, Measure] = {
    measure.__name__: measure
    for measure in (chain_metrics, chain_policy, chain_limits, chain_audit, chain_together, chain_audit_required)
}
