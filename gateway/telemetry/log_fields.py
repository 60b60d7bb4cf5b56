"""The schema of the log: every field that a line may have, its type and its meaning.

It is also the allow-list: `logs.py` drops what is not named here. No field holds a payload, a token, a signature or a
secret. docs/logs.md shows the table, and the suite checks every line that a gateway writes with `faults_of`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

LEVELS: Mapping[str, str] = {
    "debug": "calls of the standard services (health, reflection)",
    "info": "done, or refused because of what the caller asked for",
    "warning": (
        "a call failed because of the gateway or Phoenix, a webhook was refused, or someone may soon have to act"
    ),
    "error": "someone must act: the line names the cause, and most have advice",
}
ALWAYS = ("timestamp", "level", "event")


class Field(NamedTuple):
    """One field. `types`: of its values in JSON."""

    types: tuple[type, ...]
    meaning: str


_TEXT, _WHOLE, _NUMBER = (str,), (int,), (int, float)
_COUNT = (int, str)
"""Calls write their counts as text, other lines as numbers."""

FIELDS: Mapping[str, Field] = {
    # Every line.
    "timestamp": Field(_TEXT, "UTC, with milliseconds."),
    "level": Field(_TEXT, "`debug`, `info`, `warning` or `error`."),
    "event": Field(_TEXT, "What happened, a fixed text; `call` for calls."),
    # Calls.
    "method": Field(_TEXT, "Full path of the method."),
    "request_id": Field(_TEXT, "The call's `x-request-id`. Paste it into `phoenix-gateway explain`."),
    "trace_id": Field(_TEXT, "Trace that the call belongs to, sampled or not."),
    "span_id": Field(_TEXT, "Span of the call, if it is sampled."),
    "caller": Field(_TEXT, "Name in the policy."),
    "peer": Field(_TEXT, "Address of a caller that is not identified."),
    "status": Field(_TEXT, "gRPC status of a call; the answer of Redis in a line about Redis."),
    "reason": Field(_TEXT, "Reason of a failure, as in errors.md."),
    "duration_ms": Field(_NUMBER, "From arrival to answer."),
    "status_message": Field(_TEXT, "The message that the caller got. Of an invalid request, see `fields` instead."),
    "effect": Field(_TEXT, "Whether Phoenix acted, if that is not certain or it did: `maybe`, `done`."),
    "retry_after_s": Field(_NUMBER, "RetryInfo that the caller got."),
    "fields": Field(_TEXT, "The faulty fields of an invalid request, without their values."),
    "tenant": Field(_TEXT, "Tenant that the call named, even if it was refused."),
    "operator": Field(_TEXT, "Operator code, as `tenant`."),
    "environment": Field(_TEXT, "`sandbox` or `prod`."),
    "key_id": Field(_TEXT, "Version of the key that the call used; `ListKeys` shows it."),
    "source": Field(_TEXT, "Where a board came from: `live`, `cache`, `stale`, `socket`."),
    "surface": Field(_TEXT, "Host of Phoenix: `ingestion`, `query`, `admin`, `prediction`."),
    "upstream_status": Field(_WHOLE, "HTTP status of Phoenix's last answer."),
    "phoenix_code": Field(_TEXT, "Error code in Phoenix's answer."),
    "tries": Field(_WHOLE, "How often the request was sent to Phoenix."),
    "last_try": Field(
        _TEXT,
        "How the last try ended without an answer: `not_sent`, `own_limit` (no file descriptors left here),"
        " `timed_out`, `lost`, `garbled`, `left` (the caller left).",
    ),
    "errno": Field(_TEXT, "Why, as the system calls it: `ECONNREFUSED`, `EAI_NONAME`, `CERTIFICATE_VERIFY_FAILED`."),
    "address": Field(_TEXT, "Host and port, or file, that the line is about."),
    "right": Field(_TEXT, "Right of the policy that the caller lacks for the method."),
    "limit": Field(_TEXT, "Limit that refused the call, such as `requests_per_s`."),
    "whose": Field(_TEXT, "Whose limit: `caller` or `tenant`."),
    "off": Field(_TEXT, "What a kill switch has switched off: `method`, `caller`, `tenant`, `operator`."),
    "events": Field(_COUNT, "Events in the call."),
    "delivery": Field(_TEXT, "`durable`."),
    "failed": Field(_WHOLE, "Events of the call that were not accepted; `reason` is the first one's."),
    "count": Field(_COUNT, "How many: tokens minted, dead letters queued again, failures, lines."),
    "claims_sha256": Field(_TEXT, "Digest of the claims of minted tokens."),
    "kind": Field(_TEXT, "Kind of change, fault or key."),
    "path": Field(_TEXT, "Pattern of the policy that opened a path; place in a library or on the admin port."),
    "sample": Field(_NUMBER, "Share of successful calls that get a line, if it is below 1."),
    # Webhooks.
    "webhook_request_id": Field(_TEXT, "`x-request-id` of the webhook."),
    "webhook_sha256": Field(_TEXT, "Digest of a webhook's body."),
    "verdict": Field(_TEXT, "Verdict of VerifyWallet."),
    "disposition": Field(_TEXT, "What the wallet has to do with a verified webhook."),
    "reply_status": Field(_WHOLE, "HTTP status that the wallet was told to answer."),
    "operation_id": Field(_TEXT, "The wallet operation in the evidence."),
    "attempt": Field(_COUNT, "Which attempt at the operation."),
    "suspect_replay": Field(_TEXT, "`true`: the signed body came before under another key."),
    "probed_before": Field(_TEXT, "`true`: Phoenix had asked for the state of the operation before it came."),
    "settled": Field((str, bool), "`true`: a person settled the unreadable webhook."),
    "odd_headers": Field(_TEXT, "Unsigned headers that are not as Phoenix sends them."),
    "provider": Field(_TEXT, "An unexpected `x-provider`."),
    # Errors.
    "error_type": Field(_TEXT, "Class of the exception."),
    "error_at": Field(_TEXT, "File and line that raised it."),
    "error_from": Field(_TEXT, "Innermost line of the gateway, if that is another one."),
    "error_causes": Field(_TEXT, "Classes that it was raised from."),
    "trouble": Field(_TEXT, "The cause in words."),
    "advice": Field(_TEXT, "What to do."),
    "code": Field(_COUNT, "Error code of the other side: HTTP status, SQLSTATE, errno."),
    "cause": Field(_TEXT, "Kind of cause."),
    # The process and its parts.
    "admin_address": Field(_TEXT, "Address of the admin port."),
    "version": Field(_TEXT, "Version of the gateway or of a key."),
    "revision": Field(_TEXT, "Revision of the source."),
    "service": Field(_TEXT, "Service by its full name."),
    "serving": Field((bool,), "Whether it serves."),
    "setting": Field(_TEXT, "Name of a setting."),
    "reference": Field(_TEXT, "Where a secret is kept; never its content."),
    "signal": Field(_TEXT, "Signal that arrived."),
    "pid": Field(_WHOLE, "Process id."),
    "worker": Field(_WHOLE, "Number of a worker."),
    "workers": Field(_WHOLE, "How many workers."),
    "exit_code": Field(_WHOLE, "Of a process that ended."),
    "part": Field(_TEXT, "Part that fails or works again."),
    "task": Field(_TEXT, "Background task."),
    "state": Field(_TEXT, "New state."),
    "store": Field(_TEXT, "`sqlite` or `postgresql`; the store of secrets."),
    "cache": Field(_TEXT, "`redis` or `process`."),
    "block": Field(_WHOLE, "Number of a block of the evidence chain."),
    "block_hash": Field(_TEXT, "Its hash."),
    "entries": Field(_WHOLE, "Its entries."),
    "age_s": Field(_NUMBER, "Age of what the line is about."),
    "delay_s": Field(_NUMBER, "Time of not ready but still accepting."),
    "timeout_s": Field(_NUMBER, "Time until everything is closed."),
    "drain_s": Field(_NUMBER, "Time left to drain."),
    "lived_s": Field(_NUMBER, "How long a process lived."),
    "wait_s": Field(_NUMBER, "How long something waits."),
    "within_s": Field(_NUMBER, "Time that something may take."),
    "waits_for": Field(_TEXT, "What it waits for."),
    "elapsed_ms": Field(_NUMBER, "How long something took."),
    "memory_mib": Field(_NUMBER, "Memory of the process."),
    "logger": Field(_TEXT, "Library that warns."),
    "dropped": Field(_TEXT, "Fields that the line should not have had. A bug: report it."),
}


def faults_of(line: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with a line by the schema; empty for a good one."""
    faults = [f"{name} is missing" for name in ALWAYS if name not in line]
    if line.get("level") not in LEVELS:
        faults.append("level is unknown")
    for name, value in line.items():
        field = FIELDS.get(name)
        if field is None or name == "dropped":
            faults.append(f"{name}: {value}" if name == "dropped" else f"{name} is not in the schema")
        elif value is not None and type(value) not in field.types:
            faults.append(f"{name} is {type(value).__name__}")
    return faults
