"""For each alert, series that make it fire and stop again, in the notation of promtool: one value a minute.

A case begins without a reason to fire and has one from the eleventh minute on, for a while.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

OURS = "phoenix_gateway_"
METHOD = 'method="/phoenix.gateway.v1.EventService/SubmitEvent"'
ON = 'job="gateway",instance="one"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """`series`: values by series. In minutes, it is quiet at `quiet_min`, fires at `fires_min`, ends by `ends_min`."""

    series: Mapping[str, str]
    quiet_min: int = 9
    fires_min: int = 14
    ends_min: int = 24


def _once(name: str, labels: str = "") -> Case:
    """A counter that rises once."""
    return Case(series={f"{OURS}{name}{{{ON},{labels}}}": "0x10 1x20"}, fires_min=12)


def _steady(name: str, labels: str = "", a_minute: int = 1) -> Case:
    """A counter that rises for some minutes."""
    values = f"0x10 0+{a_minute}x20 {20 * a_minute}x20"
    return Case(series={f"{OURS}{name}{{{ON},{labels}}}": values}, fires_min=30, ends_min=42)


def _gauge(name: str, value: float, labels: str = "", low: float = 0, lasts_min: int = 8) -> Case:
    """A gauge that is high for a while."""
    return Case(
        series={f"{OURS}{name}{{{ON},{labels}}}": f"{low}x10 {value}x{lasts_min} {low}x10"},
        fires_min=10 + lasts_min,
        ends_min=10 + lasts_min + 5,
    )


def _budget(failed_a_minute: int, fires_min: int, ends_min: int) -> Case:
    """Calls of which some fail, from the eleventh minute on for two hours."""
    return Case(
        series={
            f'{OURS}calls_total{{{ON},{METHOD},status="OK",reason=""}}': "0+1000x600",
            f'{OURS}calls_total{{{ON},{METHOD},status="UNAVAILABLE",reason="PHOENIX_UNAVAILABLE"}}': (
                f"0x10 0+{failed_a_minute}x120 {failed_a_minute * 120}x470"
            ),
        },
        fires_min=fires_min,
        ends_min=ends_min,
    )


_DAY = 86400
CASES: Mapping[str, Case] = {
    "Absent": Case(series={f"{OURS}build_info{{{ON}}}": "1x10 _x10 1x40"}, fires_min=19, ends_min=25),
    "ReplicaDown": Case(
        series={f"up{{{ON}}}": "1x10 0x20 1x40", f"{OURS}build_info{{{ON}}}": "1x10 _x20 1x40"}, ends_min=35
    ),
    "NotReady": _gauge("not_ready", 1, 'cause="database"'),
    "ServiceNotServing": _gauge("service_serving", 0, 'service="phoenix.gateway.v1.WalletService"', low=1),
    "ErrorBudgetBurnsFast": _budget(200, 20, 180),
    "ErrorBudgetBurnsSlowly": _budget(10, 120, 520),
    "InternalErrors": _once("calls_total", f'{METHOD},status="INTERNAL",reason="INTERNAL"'),
    "Overloaded": _steady("calls_total", f'{METHOD},status="RESOURCE_EXHAUSTED",reason="OVERLOADED"'),
    "CredentialsRejected": _once("credentials_rejected_total", 'surface="admin"'),
    "CircuitOpen": _once("circuit_changes_total", 'surface="ingestion",state="open"'),
    "DeadLetters": _once("dead_letters_total", 'reason="PHOENIX_REFUSED_INPUT"'),
    "QueueOld": _gauge("queue_oldest_seconds", 301),
    "EventsUnclear": _once("event_sending_events_total", 'event="bulk_unclear"'),
    "BadSignatures": _once("wallet_decisions_total", 'environment="prod",verdict="BAD_SIGNATURE",disposition=""'),
    "SuspectReplays": _once("suspect_replays_total", 'environment="prod"'),
    "MovesHeld": _once("wallet_decisions_total", 'environment="prod",verdict="HELD_SUSPECT_REPLAY",disposition=""'),
    "UnreadableWebhooks": _once("unreadable_webhooks_total", 'environment="prod",state="waiting"'),
    "MovesReclaimed": _once("wallet_decisions_total", 'environment="prod",verdict="VERIFIED",disposition="RECLAIMED"'),
    "OutcomesContradict": _once("calls_total", f'{METHOD},status="FAILED_PRECONDITION",reason="STALE_ATTEMPT"'),
    "StoreErrors": _once("store_errors_total", 'kind="unavailable"'),
    "ChainWaiting": _gauge("evidence_chain_waiting_seconds", 11),
    "ChainBroken": _once("evidence_chain_failures_total", 'kind="broken"'),
    "PlatformKeyRefetched": _steady("platform_key_events_total", 'event="fetch_began"', 20),
    "PlatformKeyFetchFails": _steady("platform_key_events_total", 'event="fetch_failed"'),
    "PlatformKeyRefused": _once("platform_key_events_total", 'event="entry_refused"'),
    "PlatformKeyOutdated": _once("platform_key_events_total", 'event="outdated"'),
    "SecretNotUsed": _once("secret_file_events_total", 'event="rejected"'),
    "SecretStoreDown": _gauge("secret_store_failing_seconds", 301, 'store="vault"'),
    "SignerFails": _once("signer_events_total", 'event="failed"'),
    "SignerForged": _once("signer_events_total", 'event="forged"'),
    "SignerUnlisted": _steady("signer_events_total", 'event="unlisted"', 2),
    "KeyRotationDue": _gauge("key_active_timestamp_seconds", -366 * _DAY, 'kind="operator"'),
    "CertificateExpiresSoon": _gauge(
        "certificate_expiry_timestamp_seconds", 13 * _DAY, 'certificate="server"', low=90 * _DAY
    ),
    "CertificateExpires": _gauge(
        "certificate_expiry_timestamp_seconds", 2 * _DAY, 'certificate="server"', low=90 * _DAY
    ),
    "AuditLost": _once("audit_records_total", 'event="lost"'),
    "LogLinesLost": _once("log_lines_lost_total"),
    "TracesLost": _steady("trace_spans_total", 'result="failed"'),
    "ClockStepped": _once("clock_steps_total", 'direction="back"'),
    "RedisDown": _gauge("redis_down", 1, 'fault="timeout"'),
    "CacheEntriesRefused": _once("cache_lookups_total", 'purpose="rank",result="refused"'),
    "PolicyRefused": _gauge("policy_refused", 1),
    "SwitchedOff": _gauge("switched_off", 1, 'kind="method"', lasts_min=65),
    "DescriptorsShort": Case(
        series={
            f"process_open_fds{{{ON}}}": "10x10 900x10 10x10",
            f"process_max_fds{{{ON}}}": "1000x30",
            f"{OURS}build_info{{{ON}}}": "1x30",
        },
        fires_min=18,
        ends_min=26,
    ),
}
