"""More load than the gateway can carry: what it still does, for whom, and what the rest gets as an answer.

An open load of 1.2, 3 and 10 times the peak, which a closed loop finds first. The peak, the unloaded p99 (a fifth of
the peak) and the recovery (half of the peak, right after the overload) are measured in the same run.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial

from bench import boards, payloads
from bench.cases import BOARD_SERVICE, EVENT_SERVICE, TOKEN_SERVICE
from bench.credentials import OPERATOR_CODE, Credentials
from bench.figures import Figure, Measure
from bench.loads import Measurement, with_frames
from bench.open_loop import DEADLINE_S, OpenLoad, Phase
from bench.processes import ROOT
from bench.rounds import LIMIT_BUSY
from bench.servers import Server, Setup, start_gateway, start_upstream

FACTORS = (1.2, 3.0, 10.0)
GOODPUT_MUST, GOODPUT_AIM = 0.85, 0.95
SLOWER_MUST = 3.0
RECOVERY_MUST_S = 2.0
REFUSAL_MUST_MS = 10.0
QUIET_MUST, QUIET_AIM = 1.5, 1.2
UNLOADED, AFTER = 0.2, 0.5
"""Shares of the peak."""
BURST_S = 1.0
"""The load begins so long before it is judged: until then the gateway may take it for a burst that can wait."""
RECOVERY_S = 4.0
ROUNDS = 5
CONNECTIONS = 20
PEAK_STREAMS = (3, 5, 8)
"""Calls in flight on each connection while the peak is found; the best counts. More would be overload."""
WAITING_STREAMS = (8, 12, 16)
"""The same for calls that wait for the upstream."""
QUIET = 0.05
"""Share of the peak."""
POLICY = f"""
[[callers]]
name = "local"
allow = ["*"]
tenants = ["*"]
operators = ["*"]

[[callers]]
name = "flood"
allow = ["tokens.mint.launch"]
operators = ["{OPERATOR_CODE}/sandbox"]

[[callers]]
name = "quiet"
allow = ["tokens.mint.launch"]
operators = ["{OPERATOR_CODE}/sandbox"]
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What is called under overload. `delay_ms`: the upstream answers so late."""

    name: str
    service: str
    method: str
    requests: Callable[[Credentials, int], list[bytes]]
    delay_ms: float = 0.0
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """The gRPC path."""
        return f"/{self.service}/{self.method}"


MINT = Kind(name="mint", service=TOKEN_SERVICE, method="MintLaunchJWT", requests=payloads.mint_launch_jwt)
KINDS = (
    MINT,
    Kind(name="board", service=BOARD_SERVICE, method="GetLeaderboard", requests=boards.read_board),
    Kind(
        name="event",
        service=EVENT_SERVICE,
        method="SubmitEvent",
        requests=payloads.submit_event,
        delay_ms=50.0,
    ),
)


def overload(setup: Setup, seconds: float) -> list[Figure]:
    """Goodput, p99, recovery and refusals at 1.2, 3 and 10 times the peak, for mint, cached board and single event."""
    return [figure for kind in KINDS for figure in overload_of(setup, kind, seconds)]


def overload_of(setup: Setup, kind: Kind, seconds: float) -> list[Figure]:
    """Return the figures of one kind of call."""
    upstream = start_upstream(setup, delay_ms=kind.delay_ms)
    gateway = start_gateway(setup, upstream, kind.service, kind.settings)
    request = kind.requests(setup.credentials, 1)[0]
    peak = max(
        (
            _closed(setup, gateway, kind, request, seconds, streams)
            for streams in (WAITING_STREAMS if kind.delay_ms else PEAK_STREAMS)
        ),
        key=lambda each: each.per_s,
    )
    calm = _load(setup, gateway, kind, request, [Phase(rate=UNLOADED * peak.per_s, seconds=max(seconds, 5.0))])
    unloaded_ms = calm.phases[0].p99_ms
    figures: list[Figure] = []
    for factor in FACTORS:
        phases = [
            Phase(rate=factor * peak.per_s, seconds=BURST_S),
            Phase(rate=factor * peak.per_s, seconds=max(seconds, 5.0)),
            Phase(rate=AFTER * peak.per_s, seconds=RECOVERY_S),
        ]
        load = _load(setup, gateway, kind, request, phases, SLOWER_MUST * unloaded_ms)
        figures += _figures(f"overload_{kind.name}_{factor:g}x", peak, unloaded_ms, load)
    gateway.process.stop()
    upstream.process.stop()
    return figures


def _closed(setup: Setup, server: Server, kind: Kind, request: bytes, seconds: float, streams: int) -> Measurement:
    """Keep so many calls in flight on each connection."""
    measured, _ = with_frames(
        setup,
        server,
        kind.path,
        [request],
        seconds,
        cycle=True,
        keep=False,
        connections=CONNECTIONS,
        streams=streams,
    )
    return measured


def _figures(name: str, peak: Measurement, unloaded_ms: float, load: OpenLoad) -> list[Figure]:
    """Return the four figures of one load."""
    first, over, after = load.phases
    by_rate = over.per_s / peak.per_s
    by_cpu = over.ok * peak.cpu_us / 1e6 / over.server_cpu_s
    busy = over.server_cpu_s / over.seconds
    was_limit = min(busy, peak.server_busy) >= LIMIT_BUSY
    goodput = Figure(
        name=f"{name}_goodput",
        value=by_rate if was_limit else by_cpu,
        unit="of the peak",
        about=f"of {over.rate:,.0f}/s {over.per_s:,.0f}/s answered, {over.refused / over.seconds:,.0f}/s refused; "
        + (f"{by_cpu:.2f} by CPU" if was_limit else f"by CPU, because the server waited; {by_rate:.2f} by rate"),
        limit=GOODPUT_MUST,
        aim=GOODPUT_AIM,
        details={
            "peak_per_s": peak.per_s,
            "peak_cpu_us": peak.cpu_us,
            "server_busy": {"peak": peak.server_busy, "overload": busy},
            "refusal_cpu_us": (over.server_cpu_s * 1e6 - over.ok * peak.cpu_us) / over.refused
            if over.refused
            else None,
            "load_busy": load.busy,
            "first_second": asdict(first),
            "overload": asdict(over),
        },
    )
    p99 = Figure(
        name=f"{name}_p99",
        value=over.p99_ms / unloaded_ms,
        unit="of unloaded",
        about=f"p99 of the admitted calls, {over.p99_ms:.1f} ms; {unloaded_ms:.1f} ms at a fifth of the peak",
        limit=SLOWER_MUST,
    )
    recovery = Figure(
        name=f"{name}_recovery",
        value=after.last_bad_s,
        unit="s",
        about="at half of the peak: until every call is answered within three times the unloaded p99",
        limit=RECOVERY_MUST_S,
        details={"after": asdict(after)},
    )
    refused = Figure(
        name=f"{name}_refusals",
        value=over.refused_p99_ms,
        unit="ms",
        about=f"p99 until OVERLOADED; {sum(over.failed.values()) / over.due:.1%} of the calls ended otherwise",
        limit=REFUSAL_MUST_MS,
        faults=Counter({f"{kind} of {over.due} calls": count for kind, count in over.failed.items()}),
    )
    _judge(goodput, is_met=goodput.value >= GOODPUT_MUST)
    _judge(p99, is_met=p99.value <= SLOWER_MUST)
    _judge(recovery, is_met=recovery.value <= RECOVERY_MUST_S)
    _judge(refused, is_met=refused.value <= REFUSAL_MUST_MS)
    return [goodput, p99, recovery, refused]


def _judge(figure: Figure, *, is_met: bool) -> None:
    if not is_met:
        figure.faults["bar missed"] += 1


def quiet_caller(setup: Setup, seconds: float) -> list[Figure]:
    """p99 of a caller beside another one that floods at ten times the peak, divided by its p99 alone; at most 1.5."""
    upstream = start_upstream(setup)
    file = setup.workspace.new_path("policy.toml")
    file.touch(mode=0o600)
    file.write_text(POLICY, encoding="utf-8")
    # A short path, because a socket name has about 100 bytes. Other users cannot access the folder.
    folder = tempfile.mkdtemp(prefix="pgw-quiet-")
    sockets = {caller: f"{folder}/{caller}.sock" for caller in ("quiet", "flood")}
    settings = {
        "GATEWAY_CONFIG": str(file),
        "GATEWAY_SOCKETS": ",".join(f"{caller}={path}" for caller, path in sockets.items()),
    }
    gateway = start_gateway(setup, upstream, MINT.service, settings)
    request = MINT.requests(setup.credentials, 1)[0]
    peak = _closed(setup, gateway, MINT, request, seconds, PEAK_STREAMS[0]).per_s
    alone: list[Phase] = []
    beside: list[Phase] = []
    floods: list[Phase] = []
    quiet, flood = (partial(_start, setup, gateway, MINT, request, target=sockets[name]) for name in sockets)
    settle = Phase(rate=1.0, seconds=BURST_S)
    for _ in range(ROUNDS):
        calls = Phase(rate=QUIET * peak, seconds=seconds)
        alone.append(_ended(quiet([settle, calls], connections=1)).phases[1])
        flooding = flood([Phase(rate=10 * peak, seconds=seconds + 2 * BURST_S)])
        beside.append(_ended(quiet([settle, calls], connections=1)).phases[1])
        floods += _ended(flooding).phases
    ratio = statistics.median(one.p99_ms for one in beside) / statistics.median(one.p99_ms for one in alone)
    figure = Figure(
        name="quiet_caller",
        value=ratio,
        unit="of alone",
        about=f"p99 of {QUIET * peak:,.0f} mints a second while another caller sends {10 * peak:,.0f} a second",
        limit=QUIET_MUST,
        aim=QUIET_AIM,
        details={
            "alone_ms": [round(one.p99_ms, 2) for one in alone],
            "beside_ms": [round(one.p99_ms, 2) for one in beside],
            "flood_per_s": [round(one.per_s) for one in floods],
            "flood_refused": [one.refused for one in floods],
            "flood_failed": [one.failed for one in floods],
        },
    )
    for one in beside:
        figure.faults.update({f"the quiet caller: {kind}": count for kind, count in one.failed.items()})
        if one.refused:
            figure.faults["the quiet caller: OVERLOADED"] += one.refused
    _judge(figure, is_met=ratio <= QUIET_MUST)
    return [figure]


def _load(
    setup: Setup, server: Server, kind: Kind, request: bytes, phases: list[Phase], slow_ms: float = DEADLINE_S * 1000
) -> OpenLoad:
    return _ended(_start(setup, server, kind, request, phases, slow_ms=slow_ms))


def _start(
    setup: Setup,
    server: Server,
    kind: Kind,
    request: bytes,
    phases: list[Phase],
    *,
    target: str = "",
    slow_ms: float = DEADLINE_S * 1000,
    connections: int = CONNECTIONS,
) -> subprocess.Popen[str]:
    """Start an open load on the server's port, or on the socket `target`."""
    body = setup.workspace.new_path("request")
    body.write_bytes(request)
    arguments = ["--target", target or server.port, "--path", kind.path, "--request", body, "--slow-ms", slow_ms]
    arguments += ["--connections", connections, "--pid", server.process.pid]
    arguments += [word for phase in phases for word in ("--phase", f"{phase.rate}:{phase.seconds}")]
    return subprocess.Popen(  # noqa: S603 - our own module
        [sys.executable, "-m", "bench.open_loop", *map(str, arguments)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


def _ended(process: subprocess.Popen[str]) -> OpenLoad:
    output, _ = process.communicate(timeout=120)
    found = json.loads(output)
    return OpenLoad(phases=[Phase(**phase) for phase in found["phases"]], busy=found["busy"])


FIGURES: dict[str, Measure] = {"overload": overload, "quiet_caller": quiet_caller}
