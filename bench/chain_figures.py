"""What metrics, policy, limits and audit cost of the empty handler's rate, each switched on in turn, and together.

Subject and comparator are the same front with the same empty handler, with the link and without. Judged is the better
of two ratios over alternating rounds: of calls a second (median), and of the CPU time of a call (least), which is the
same where the server's core is the limit, and steadier where others share it. Source: issue 8, "Speed".
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence

from bench import chain_server
from bench.contenders import Contender, Stage, start_empty, start_printing
from bench.figures import Figure, Measure
from bench.loads import Measured, with_h2load

BAR = 0.85
ROUNDS = 5
WARM_UP_S = 0.7


def chain_metrics(stage: Stage, seconds: float) -> list[Figure]:
    """Metrics alone, against the same front without."""
    return _compare(stage, seconds, "chain_metrics", ["metrics"])


def chain_policy(stage: Stage, seconds: float) -> list[Figure]:
    """Identity, policy and kill switch alone, against the same front without."""
    return _compare(stage, seconds, "chain_policy", ["policy"])


def chain_limits(stage: Stage, seconds: float) -> list[Figure]:
    """Limits of caller and tenant alone, against the same front without."""
    return _compare(stage, seconds, "chain_limits", ["limits"])


def chain_audit(stage: Stage, seconds: float) -> list[Figure]:
    """The audit log alone, every call kept, against the same front without."""
    return _compare(stage, seconds, "chain_audit", ["audit"])


def chain_together(stage: Stage, seconds: float) -> list[Figure]:
    """All four together, against the same front without, and against the bare handler E on the same loop."""
    return _compare(stage, seconds, "chain_together", chain_server.PARTS, beside_empty=True)


def chain_audit_required(stage: Stage, seconds: float) -> list[Figure]:
    """All four, each record synced to the disk before its answer leaves. Told, not judged: it is the disk's time."""
    return _compare(stage, seconds, "chain_audit_required", chain_server.PARTS, required=True)


def _compare(
    stage: Stage, seconds: float, name: str, parts: Sequence[str], *, beside_empty: bool = False, required: bool = False
) -> list[Figure]:
    contenders = {"without": _start(stage, []), "with": _start(stage, parts, required=required)}
    if beside_empty:
        contenders["E_uvloop"] = start_empty(stage, 0, "uvloop")
    for contender in contenders.values():
        _load(stage, contender, WARM_UP_S)
    found: dict[str, list[Measured]] = {key: [] for key in contenders}
    for number in range(ROUNDS):
        # Turn about, so that a machine that grows slower favours nobody.
        order = list(contenders) if number % 2 == 0 else list(reversed(contenders))
        for key in order:
            found[key].append(_load(stage, contenders[key], seconds))
    medians = {key: statistics.median(one.per_s for one in loads) for key, loads in found.items()}
    faults: Counter[str] = Counter()
    for loads in found.values():
        for one in loads:
            faults.update(one.faults)
    # The least: whatever else the machine does only adds to it.
    cpu_us = {key: min((one.cpu_us for one in loads if one.cpu_us > 0), default=0.0) for key, loads in found.items()}
    by_rate = medians["with"] / medians["without"] if medians["without"] else 0.0
    by_cpu = cpu_us["without"] / cpu_us["with"] if cpu_us["with"] else 0.0
    ratio = max(by_rate, by_cpu)
    if ratio < BAR and not required:
        faults[f"below {BAR:g} of the rate without"] += 1
    told: dict[str, object] = {f"{key}_per_s": round(rate) for key, rate in medians.items()}
    told["rounds"] = [round(a.per_s / b.per_s, 3) for a, b in zip(found["with"], found["without"], strict=True)]
    told |= {"by_rate": round(by_rate, 3), "by_cpu": round(by_cpu, 3)}
    told["cpu_us"] = {key: round(spent, 1) for key, spent in cpu_us.items()}
    about = f"rate with {', '.join(parts)} over the rate of the same front without; at least {BAR:g}"
    if required:
        about = "rate with all and every record synced before its answer, over the rate without; not judged"
    return [Figure(name=name, value=ratio, unit="", about=about, limit=None, told=told, faults=faults)]


def _start(stage: Stage, parts: Sequence[str], *, required: bool = False) -> Contender:
    arguments = [word for part in parts for word in ("--part", part)] + (["--audit-required"] if required else [])
    return start_printing(stage, "chain_server", ["-m", "bench.chain_server", *arguments], {})


def _load(stage: Stage, contender: Contender, seconds: float) -> Measured:
    return with_h2load(stage, contender, chain_server.METHOD, b"", seconds, (0, 0))


FIGURES: dict[str, Measure] = {
    measure.__name__: measure
    for measure in (chain_metrics, chain_policy, chain_limits, chain_audit, chain_together, chain_audit_required)
}
