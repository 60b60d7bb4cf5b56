"""The values that the labels of metrics may have; any other counts as OTHER. docs/metrics.md says what they mean."""

from __future__ import annotations

SURFACES = frozenset({"ingestion", "query", "admin", "prediction"})
UNANSWERED = frozenset({"not_sent", "own_limit", "timed_out", "lost", "garbled"})
"""How no answer came, beside the HTTP statuses: nothing left; no file descriptors here; too late; cut off; no HTTP."""
STATUSES = frozenset({200, 202, 207, 400, 401, 403, 404, 409, 413, 422, 429, 500, 502, 503, 504})
"""HTTP statuses with a series of their own; the others count by class, such as `5xx`."""
PLATFORM_KEY_EVENT = "platform_key_"
PLATFORM_KEY_EVENTS = frozenset(
    {
        "fetch_began", "fetch_failed", "refused", "rotated", "shared", "lease_missed", "waiting_room_full",
        "cache_unavailable", "cache_mended", "entry_unreadable", "entry_refused", "outdated",
    }
)  # fmt: skip
CLOCK_DIRECTIONS = frozenset({"forward", "back"})
CIRCUITS = frozenset({"closed", "open", "half_open"})
EVENT_SENDING_EVENTS = frozenset(
    {"bulk_not_served", "bulk_divided", "bulk_refused", "bulk_unclear", "event_id_entry_refused", "event_id_not_shared"}
)
POLICY_EVENTS = frozenset({"taken", "refused"})
SECRET_FILE_EVENT = "secret_file_"
SECRET_FILE_EVENTS = frozenset({"announced", "reloaded", "refused", "rejected", "retired"})
SECRET_STORES = frozenset({"vault", "vault-db", "aws-sm", "gcp-sm", "exec"})
SECRET_READ_RESULTS = frozenset(
    {
        "ok", "unreachable", "timeout", "tls", "sealed", "login", "forbidden", "no_such_path", "wrong_field",
        "unusable_answer",
    }
)  # fmt: skip
SIGNER_EVENT = "signer_"
SIGNER_EVENTS = frozenset({"failed", "forged", "unlisted", "opened"})
LIVE_BOARD_EVENTS = frozenset(
    {
        "opened", "open_failed", "refused", "credentials_rejected", "cut", "silent", "unreadable", "unreadable_frame",
        "ignored_frame", "page_requested", "update_left_out", "replaced", "shared",
    }
)  # fmt: skip
AUDIT_EVENTS = frozenset({"kept", "lost", "failed"})
CACHE_PURPOSES = frozenset({"platform_key", "leaderboard", "rank", "event_id", "limit", "switch"})
CACHE_RESULTS = frozenset({"hit", "miss", "stale", "socket", "unavailable", "refused"})
CHAIN_FAILURE_KINDS = frozenset({"unavailable", "broken"})
STORE_FAILURE_CAUSES = frozenset(
    {
        "refused", "unreachable", "name", "tls", "login", "no_database", "limit", "starting", "read_only", "ended",
        "lost", "timeout", "locked", "disk_full", "rights", "schema", "pooler", "option", "encoding", "file",
        "own_files",
    }
)  # fmt: skip
NOT_READY_CAUSES = frozenset({"starting", "draining", "database", "audit", "clock", "keys", "descriptors"})
"""The parts of `server.assembly.own_parts` that a replica needs, and its start and end."""
SPAN_RESULTS = frozenset({"exported", "failed", "dropped"})
STORE_ERROR_KINDS = frozenset({"unavailable", "timeout", "conflict", "full"})
