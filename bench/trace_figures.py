"""The price of traces: CPU time for a call with one call in a hundred sampled, against a gateway without.

`bench.traced_gateways` measures in one process what a call costs that is not sampled, and one that is. The price at 1 %
is 0.99 of the first and 0.01 of the second. So a few sampled calls, which cost half as much again, do not blur what all
pay.
"""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.figures import Figure, Measure
from bench.processes import StartFailed
from bench.servers import Setup, start_upstream, upstream_counts
from bench.traced_gateways import BLOCK, CALLS, IN_FLIGHT, SAMPLED_CALLS

BAR_PERCENT = 3.0
CONTROL_PERCENT = 0.5
"""How far two gateways without traces may differ. If they surely differ more, the price is not to be believed."""
SAMPLED = 0.01
_TIMES_LONGER = 45
"""As long as other cases take for a round, so many times: 135 s."""
_START_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Excess:
    """How much more CPU time one side takes: the median of pairs and its interval of 95 %, in percent."""

    percent: float
    low: float
    high: float

    @property
    def interval(self) -> list[float]:
        """The interval, as it is reported."""
        return [round(self.low, 2), round(self.high, 2)]


def traces(setup: Setup, seconds: float) -> list[Figure]:
    """How much more CPU time a call takes with traces at 1 %; at most 3 %."""
    upstream = start_upstream(setup)
    output = setup.workspace.new_path("cpu-times")
    environ = {**setup.credentials.gateway_environ(upstream.port, "set for each"), "GATEWAY_FRONT": setup.front}
    length_s = seconds * _TIMES_LONGER
    arguments = ["-m", "bench.traced_gateways", str(output), str(length_s)]
    process, began = setup.workspace.start("gateways", arguments, environ, setup.server_core)
    while not process.has_ended() and time.perf_counter() < began + length_s + _START_S:
        time.sleep(0.1)
    if not process.has_ended() or not output.exists():
        raise StartFailed(f"the gateways with and without traces did not answer: {process.log_end()}")
    found: dict[str, dict[str, list[list[float]]]] = json.loads(output.read_text(encoding="utf-8"))
    figures = [figure(kind, found[kind]) for kind in CALLS]
    if not upstream_counts(upstream).get("trace_exports"):
        figures[0].faults["no span was exported"] += 1
    upstream.process.stop()
    return figures


def figure(kind: str, found: Mapping[str, Sequence[Sequence[float]]]) -> Figure:
    """Return the price for one kind of call. Args: `found`: as `bench.traced_gateways` writes it."""
    control = excess([again / off for off, _, _, again in found["blocks"]])
    unsampled = excess([math.sqrt(one * two / (off * again)) for off, one, two, again in found["blocks"]])
    sampled = excess([on / off for off, on in found["sampled"]])
    price, low, high = (
        (1 - SAMPLED) * each + SAMPLED * sampled.percent for each in (unsampled.percent, unsampled.low, unsampled.high)
    )
    method = CALLS[kind][0].rpartition("/")[2]
    made = Figure(
        name=f"traces_{kind}",
        value=price,
        unit="% of CPU",
        about=f"more CPU time for {method} with traces at 1 %: {low:.2f} to {high:.2f}, at most {BAR_PERCENT:g}; "
        f"without against without: {control.low:+.2f} to {control.high:+.2f}",
        limit=BAR_PERCENT,
        details={
            "interval": [round(low, 2), round(high, 2)],
            "unsampled_percent": round(unsampled.percent, 2),
            "sampled_percent": round(sampled.percent, 1),
            "sampled_interval": sampled.interval,
            "control_percent": round(control.percent, 2),
            "control_interval": control.interval,
            "cpu_us_off": round(statistics.median(off for off, *_ in found["blocks"]), 1),
            "calls": len(found["blocks"]) * len(BLOCK) * IN_FLIGHT,
            "sampled_calls": len(found["sampled"]) * SAMPLED_CALLS,
        },
    )
    if price > BAR_PERCENT:
        made.faults[f"above {BAR_PERCENT:g} %"] += 1
    elif high > BAR_PERCENT:
        made.faults[f"may be above {BAR_PERCENT:g} %: measure for longer, or while the machine is quiet"] += 1
    if control.low > CONTROL_PERCENT or control.high < -CONTROL_PERCENT:
        made.faults[f"two gateways without traces differ by more than {CONTROL_PERCENT:g} %"] += 1
    return made


def excess(ratios: Sequence[float]) -> Excess:
    """Return the median of ratios in percent above 1, and the interval of 95 % by the sign test."""
    ordered = sorted(ratios)
    at = max(0, math.floor(len(ordered) / 2 - 0.98 * math.sqrt(len(ordered))))
    percent, low, high = (
        (each - 1) * 100 for each in (statistics.median(ordered), ordered[at], ordered[len(ordered) - 1 - at])
    )
    return Excess(percent=percent, low=low, high=high)


FIGURES: dict[str, Measure] = {"traces": traces}
