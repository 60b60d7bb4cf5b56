"""An example of each command, shown at the end of its help and in docs/cli.md. A test parses all of them."""

from __future__ import annotations

from typing import Final

EXAMPLES: Final[dict[str, tuple[str, ...]]] = {
    "serve": ("phoenix-gateway serve --config gateway.toml",),
    "sandbox": ("phoenix-gateway sandbox --port-base 9100 --ready-file sandbox.json",),
    "dev": (
        "phoenix-gateway dev --port 0 --json",
        "phoenix-gateway dev --fault surface=ingestion,path_prefix=/v1/events,kind=status,status=503,times=1",
    ),
    "smoke": ("phoenix-gateway smoke", "phoenix-gateway smoke --target 127.0.0.1:50051 --json"),
    "doctor": ("phoenix-gateway doctor --json", "phoenix-gateway doctor --prove-events event-proof"),
    "watch": ("phoenix-gateway watch xp-weekly --top 10", "phoenix-gateway watch xp-weekly --json"),
    "top": ("phoenix-gateway top xp-weekly --top 10",),
    "call": (
        "phoenix-gateway call",
        "phoenix-gateway call EventService/SubmitEvent --describe",
        """phoenix-gateway call LeaderboardService/GetLeaderboard '{"leaderboard_id": "xp-weekly"}'""",
        "phoenix-gateway call EventService/StreamEvents - --json",
    ),
    "disable": ("phoenix-gateway disable", "phoenix-gateway disable MintLaunchJWT --reason 'INC-42: wrong currency'"),
    "enable": ("phoenix-gateway enable MintLaunchJWT --reason 'INC-42 is over'",),
    "explain": (
        "phoenix-gateway explain 01956a3c-8f8e-7d2a-9b1e-3c5d7f9a1b2c",
        "phoenix-gateway explain OUTCOME_UNKNOWN",
    ),
    "keys generate": ("phoenix-gateway keys generate --out launch.pem",),
    "keys list": ("phoenix-gateway keys list --target 127.0.0.1:50051",),
    "keys revoke": (f"phoenix-gateway keys revoke {'0a' * 32} --environment sandbox",),
    "evidence export": ("phoenix-gateway evidence export --from 2026-11-01 --to 2026-11-02 --out day.jsonl",),
    "evidence verify": ("phoenix-gateway evidence verify day.jsonl --head head.json",),
    "evidence list": ("phoenix-gateway evidence list --unreadable",),
    "evidence settle": (
        f"phoenix-gateway evidence settle ID --sha256 {'0a' * 32} --status 200 --response answer.json --note 'tx 42'",
    ),
    "evidence report": ("phoenix-gateway evidence report --from 2026-11-01 --to 2026-11-02 --json",),
    "policy check": ("phoenix-gateway policy check gateway.toml",),
    "policy matrix": ("phoenix-gateway policy matrix gateway.toml --caller game",),
    "policy diff": ("phoenix-gateway policy diff gateway.toml new.toml",),
    "events send": ("phoenix-gateway events send events.jsonl --durable --rate 2000",),
}


def epilog(name: str) -> str:
    """Return the end of a command's help."""
    lines = EXAMPLES.get(name, ())
    return "\b\n" + "\n".join([f"Example{'s' if len(lines) > 1 else ''}:", *(f"  {line}" for line in lines)])
