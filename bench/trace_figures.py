"""The price of traces: CPU time for a call with one call in a hundred sampled, against a gateway without.

Rounds alternate. The smallest call shows what a call pays that is not sampled; an event has a span for its request too.
"""

from __future__ import annotations

import statistics
from collections import Counter

from bench import payloads
from bench.cases import EVENT_SERVICE, TOKEN_SERVICE
from bench.checks import Faults
from bench.figures import Figure, Measure
from bench.loads import with_frames
from bench.servers import Setup, start_gateway, start_upstream, upstream_counts

BAR_PERCENT = 3.0
ROUNDS = 9
_SAMPLED = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.01"}
_CALLS = {
    "mint": (f"/{TOKEN_SERVICE}/MintLaunchJWT", payloads.mint_launch_jwt),
    "event": (f"/{EVENT_SERVICE}/SubmitEvent", payloads.submit_event),
}


def traces(setup: Setup, seconds: float) -> list[Figure]:
    """How much more CPU time a call takes with traces at 1 %; at most 3 %."""
    upstream = start_upstream(setup)
    traced = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{upstream.port}", **_SAMPLED}
    gateways = {
        "off": start_gateway(setup, upstream, TOKEN_SERVICE),
        "on": start_gateway(setup, upstream, TOKEN_SERVICE, traced),
    }
    figures = []
    for kind, (path, make) in _CALLS.items():
        requests = make(setup.credentials, 1)
        cpu_us: dict[str, list[float]] = {name: [] for name in gateways}
        faults: Faults = Counter()
        for number in range(ROUNDS + 1):
            order = list(gateways.items())
            for name, gateway in order if number % 2 else reversed(order):
                one, _ = with_frames(setup, gateway, path, requests, seconds, cycle=True, keep=False)
                faults += one.faults
                if number:  # the first round warms up
                    cpu_us[name].append(one.cpu_us)
        more = statistics.median(cpu_us["on"]) / statistics.median(cpu_us["off"]) * 100 - 100
        if more > BAR_PERCENT:
            faults[f"above {BAR_PERCENT:g} %"] += 1
        figures.append(
            Figure(
                name=f"traces_{kind}",
                value=more,
                unit="% of CPU",
                about=f"more CPU time for {path.rpartition('/')[2]} with traces at 1 %; at most {BAR_PERCENT:g} %",
                limit=BAR_PERCENT,
                details={f"cpu_us_{name}": round(statistics.median(found), 2) for name, found in cpu_us.items()},
                faults=faults,
            )
        )
    if not upstream_counts(upstream).get("trace_exports"):
        figures[0].faults["no span was exported"] += 1
    return figures


FIGURES: dict[str, Measure] = {"traces": traces}
