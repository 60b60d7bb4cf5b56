"""The price of traces: CPU time for a call with one call in a hundred sampled, against a gateway without.

Two starts of one program differ by up to 8 %, more than the bar, so several pairs are started, and the
median of the pairs' ratios counts. Within a pair rounds alternate. The smallest call shows what a call pays that is not
sampled; an event has a span for its request too.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence

from bench import payloads
from bench.cases import EVENT_SERVICE, TOKEN_SERVICE
from bench.checks import Faults
from bench.figures import Figure, Measure
from bench.loads import with_frames
from bench.servers import Setup, start_gateway, start_upstream, upstream_counts

BAR_PERCENT = 3.0
PAIRS = 9
ROUNDS = 3
_LONGEST_S = 1.5
"""Longer rounds make a pair no steadier: its two starts differ more than its rounds."""
_SAMPLED = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.01"}
_CALLS = {
    "mint": (f"/{TOKEN_SERVICE}/MintLaunchJWT", payloads.mint_launch_jwt),
    "event": (f"/{EVENT_SERVICE}/SubmitEvent", payloads.submit_event),
}


def traces(setup: Setup, seconds: float) -> list[Figure]:
    """How much more CPU time a call takes with traces at 1 %; at most 3 %."""
    pairs: dict[str, list[dict[str, float]]] = {kind: [] for kind in _CALLS}
    faults = {kind: Counter[str]() for kind in _CALLS}
    for number in range(PAIRS):
        for kind, pair in _one_pair(setup, seconds, reverse=bool(number % 2), faults=faults).items():
            pairs[kind].append(pair)
    return [_figure(kind, pairs[kind], faults[kind]) for kind in _CALLS]


def _one_pair(
    setup: Setup, seconds: float, *, reverse: bool, faults: Mapping[str, Faults]
) -> dict[str, dict[str, float]]:
    """Return by kind of call the median CPU time of a fresh gateway with traces and of one without."""
    upstream = start_upstream(setup)
    traced = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{upstream.port}", **_SAMPLED}
    settings = {"off": {}, "on": traced}
    gateways = {
        name: start_gateway(setup, upstream, TOKEN_SERVICE, settings[name])
        for name in sorted(settings, reverse=reverse)
    }
    pair = {}
    for kind, (path, make) in _CALLS.items():
        requests = make(setup.credentials, 1)
        cpu_us: dict[str, list[float]] = {name: [] for name in gateways}
        for number in range(ROUNDS + 1):
            order = list(gateways.items())
            for name, gateway in order if number % 2 else reversed(order):
                one, _ = with_frames(setup, gateway, path, requests, min(seconds, _LONGEST_S), cycle=True, keep=False)
                faults[kind].update(one.faults)
                if number:  # the first round warms up
                    cpu_us[name].append(one.cpu_us)
        pair[kind] = {name: statistics.median(found) for name, found in cpu_us.items()}
    if not upstream_counts(upstream).get("trace_exports"):
        faults["mint"]["no span was exported"] += 1
    for server in (*gateways.values(), upstream):
        server.process.stop()
    return pair


def _figure(kind: str, pairs: Sequence[Mapping[str, float]], faults: Faults) -> Figure:
    more = sorted(pair["on"] / pair["off"] * 100 - 100 for pair in pairs)
    if statistics.median(more) > BAR_PERCENT:
        faults[f"above {BAR_PERCENT:g} %"] += 1
    method = _CALLS[kind][0].rpartition("/")[2]
    return Figure(
        name=f"traces_{kind}",
        value=statistics.median(more),
        unit="% of CPU",
        about=f"more CPU time for {method} with traces at 1 %, in {PAIRS} pairs of starts; at most {BAR_PERCENT:g} %",
        limit=BAR_PERCENT,
        details={
            **{f"cpu_us_{name}": round(statistics.median(pair[name] for pair in pairs), 2) for name in ("off", "on")},
            "pairs_percent": [round(one, 1) for one in more],
        },
        faults=faults,
    )


FIGURES: dict[str, Measure] = {"traces": traces}
