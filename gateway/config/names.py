"""Which settings there are, and how they are written in the environment and in the TOML file.

What a setting must be is said where it is read. Source: API.md, "Running it".
"""

from __future__ import annotations

from collections.abc import Mapping

CONFIG_FILE = "GATEWAY_CONFIG"
TRIAL = "GATEWAY_TRIAL_RUN"
"""No setting: in the environment of a gateway that `smoke` starts for itself. The policy is read, and not in force:
whoever shows the token of that one run, which has to be set beside it, may do everything."""
TRIAL_WITHOUT = (
    "GATEWAY_TLS_CERT_FILE",
    "GATEWAY_TLS_KEY_FILE",
    "GATEWAY_TLS_CLIENT_CA_FILE",
    "GATEWAY_SOCKETS",
    "GATEWAY_TRUSTED_PROXIES",
    "GATEWAY_DEV_TOKEN_FILE",
    "GATEWAY_WORKERS",
    "GATEWAY_AUDIT_FILE",
    "GATEWAY_AUDIT_REQUIRED",
    "REDIS_URL",
    "REDIS_URL_FILE",
    "GATEWAY_CACHE_KEYS",
    "GATEWAY_CACHE_KEYS_FILE",
    "DATABASE_URL",
    "DATABASE_URL_FILE",
)
"""What such a gateway does without, wherever it is set: what others call it by, and what others share with it."""

TENANT_OWN = ("TENANT_ID", "ADMIN_API_KEY", "ADMIN_API_KEY_ID", "INGESTION_HMAC_SECRET")
"""What makes one tenant; never taken over from another."""

TENANT_SHARED = (
    "INGESTION_BASE_URL",
    "ADMIN_BASE_URL",
    "QUERY_BASE_URL",
    "WEBSOCKET_URL",
    "ADMIN_AUTH",
    "QUERY_AUTH",
    "WEBSOCKET_AUTH",
    "PHOENIX_SEND_EVENT_ID",
    "PHOENIX_BULK_EVENTS",
    "PHOENIX_DEDUPLICATES_EVENTS",
)
"""A tenant of the TOML file may set these for itself; left out, the process-wide value holds."""

OPERATOR_OWN = (
    "PREDICTION_OPERATOR_CODE",
    "PREDICTION_ENVIRONMENT",
    "PREDICTION_LAUNCH_KEY",
    "PREDICTION_OPERATOR_ID",
    "PREDICTION_CURRENCIES",
)
"""What makes one operator environment; never taken over from another."""

OPERATOR_SHARED = (
    "PREDICTION_BASE_URL",
    "PREDICTION_EMBED_URL",
    "PREDICTION_PLATFORM_KEY",
    "PREDICTION_PLATFORM_KEY_SHA256",
    "PREDICTION_KEY_COOLDOWN",
    "PREDICTION_KEY_OVERLAP",
    "PREDICTION_KEY_LEAD",
    "PREDICTION_WALLET_LEASE",
    "PREDICTION_UNREADABLE_STATUS",
    "PREDICTION_HOLD_SUSPECT_REPLAYS",
    "PREDICTION_KEEP_RESPONSE_BODIES",
    "PREDICTION_WALLET_MEMBERS",
    "PREDICTION_WALLET_SCALES",
    "PREDICTION_LAUNCH_AUDIENCE",
    "PREDICTION_LAUNCH_TYP",
    "PREDICTION_LAUNCH_MAX_TTL",
    "PREDICTION_OPERATOR_SIGNATURE",
    "PREDICTION_STATS_PATH",
)
"""An operator of the TOML file may set these for itself; left out, the process-wide value holds."""

PROCESS = (
    "GATEWAY_LISTEN",
    "GATEWAY_ADMIN_LISTEN",
    "GATEWAY_TLS_CERT_FILE",
    "GATEWAY_TLS_KEY_FILE",
    "GATEWAY_TLS_CLIENT_CA_FILE",
    "GATEWAY_SOCKETS",
    "GATEWAY_TRUSTED_PROXIES",
    "GATEWAY_DEV_TOKEN",
    "GATEWAY_UPSTREAM_CA_FILE",
    "GATEWAY_WORKERS",
    "GATEWAY_DUMPABLE",
    "GATEWAY_AUDIT_FILE",
    "GATEWAY_AUDIT_REQUIRED",
    "GATEWAY_BOARD_FRESH",
    "GATEWAY_LOG_LEVEL",
    "GATEWAY_LOG_FORMAT",
    "REDIS_URL",
    "GATEWAY_CACHE_KEYS",
    "DATABASE_URL",
    "GATEWAY_DATA_DIR",
    "GATEWAY_QUEUE_EVENTS",
    "GATEWAY_QUEUE_MIB",
    "GATEWAY_EVIDENCE_KEY",
    "PHOENIX_PATHS",
)

SECRETS = frozenset(
    {
        "ADMIN_API_KEY",
        "INGESTION_HMAC_SECRET",
        "PREDICTION_LAUNCH_KEY",
        "GATEWAY_DEV_TOKEN",
        "REDIS_URL",  # may hold a password
        "GATEWAY_CACHE_KEYS",
        "GATEWAY_EVIDENCE_KEY",
        "DATABASE_URL",  # may hold a password
    }
)
WITH_FILE = SECRETS | {"PREDICTION_PLATFORM_KEY"}
"""Settings that may be read from a file instead: NAME_FILE."""

OWN_PREFIXES = ("GATEWAY_", "PREDICTION_", "PHOENIX_")
"""Environment variables that begin so are looked at for misspellings; others belong to other programs."""


def with_files(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names and the NAME_FILE form of those that have one."""
    return names + tuple(f"{name}_FILE" for name in names if name in WITH_FILE)


TENANT_NAMES = with_files(TENANT_OWN + TENANT_SHARED)
OPERATOR_NAMES = with_files(OPERATOR_OWN + OPERATOR_SHARED)
TOP_NAMES = TENANT_NAMES + OPERATOR_NAMES + with_files(PROCESS)
ENVIRONMENT_NAMES = (CONFIG_FILE, *TOP_NAMES)


def in_table(name: str) -> str:
    """Return how a setting is written inside [[tenants]] or [[operators]]: lower case, without PREDICTION_."""
    return name.removeprefix("PREDICTION_").lower()


TENANT_KEYS: Mapping[str, str] = {in_table(name): name for name in TENANT_NAMES}
OPERATOR_KEYS: Mapping[str, str] = {in_table(name): name for name in OPERATOR_NAMES}
AUDIT_KEYS: Mapping[str, str] = {"file": "GATEWAY_AUDIT_FILE", "required": "GATEWAY_AUDIT_REQUIRED"}
"""Inside [audit]."""
TOP_KEYS: Mapping[str, str] = {name.lower(): name for name in TOP_NAMES}
