"""What an operator of the gateway does about a call that failed, by its reason or verdict.

docs/errors.md tells callers what to do; this is for the person who was woken up.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.errors import Effect

_ACTED = {Effect.MAYBE.value, Effect.DONE.value}
REASONS: Mapping[str, str] = {
    "INVALID_FIELD": "The caller sent a request that breaks the contract. Give its owner the fields that are named.",
    "TENANT_UNKNOWN": "Correct tenant_id in the caller, or configure the tenant.",
    "OPERATOR_UNKNOWN": "Correct operator_code and environment in the caller, or configure the operator.",
    "KEY_UNKNOWN": "Configure the key; phoenix-gateway keys list shows what there is.",
    "NOT_ALLOWED": (
        "If the caller should have this, the owner of the policy grants it. phoenix-gateway policy matrix shows who may"
        " do what."
    ),
    "RATE_LIMITED": (
        "The caller or tenant sends more than its limit. The log lines of this caller show whether it loops; if it"
        " needs more, raise the limit in the policy."
    ),
    "OVERLOADED": "The gateway has more work than it can do in time. Check its CPU and database, or add a replica.",
    "ANSWER_TOO_LARGE": "The caller must ask for less: smaller pages, fewer items.",
    "DEADLINE_TOO_SHORT": "The caller's deadline was too short for the call. Compare it with the times that are shown.",
    "EVENT_ID_REUSED": (
        "The caller gave two different events one event_id. This one was not counted; the other one may have been."
    ),
    "WINDOW_CHANGED": "Nothing to do: the caller starts again without page_token.",
    "STALE_ATTEMPT": "Compare the wallet's ledger with the evidence: another attempt may have moved the money too.",
    "OUTCOME_DIFFERS": "Compare the wallet's ledger with the evidence: two outcomes of one operation were reported.",
    "PHOENIX_REFUSED_INPUT": "Phoenix refused the content. The caller corrects it; repeating it does not help.",
    "PHOENIX_REJECTED_CREDENTIALS": (
        "Act now: Phoenix rejects our key. Check the key version, its rotation and this host's clock with"
        " phoenix-gateway doctor."
    ),
    "PHOENIX_FORBIDDEN": "Ask Phoenix to grant this to the tenant or operator, or correct the configuration.",
    "PHOENIX_NOT_FOUND": "The id does not exist at Phoenix. The caller checks it, or creates the board first.",
    "PHOENIX_CONFLICT": "The caller reads what exists at Phoenix before it sends another request.",
    "PHOENIX_REFUSED_STATE": "Phoenix does not allow this in the present state of the board or operator.",
    "BOARD_NOT_ACTIVE": "Activate the board at Phoenix, or have the caller use another.",
    "PHOENIX_RATE_LIMITED": "Phoenix limits us. Send events in batches, or ask Phoenix for a higher limit.",
    "PHOENIX_UNAVAILABLE": (
        "Phoenix failed, and nothing was done. If it goes on, check Phoenix's status, and its host with"
        " phoenix-gateway doctor. Callers may repeat the call."
    ),
    "PHOENIX_ANSWER_UNREADABLE": "Phoenix's answer has a new form, or the base URL is wrong. Compare both.",
    "PHOENIX_TIMEOUT": "Phoenix was too slow for the deadline. Compare the times of the tries; check Phoenix's status.",
    "CIRCUIT_OPEN": (
        "Nothing was sent, because Phoenix had just failed several times. The log line `not available` of this host"
        " says why."
    ),
    "OUTCOME_UNKNOWN": (
        "Phoenix may have acted. Before anyone sends it again, check at Phoenix whether it took effect: it may count"
        " twice."
    ),
    "STORE_UNAVAILABLE": "Act now: the database does not answer. /readyz and the log line `not available` say why.",
    "AUDIT_UNAVAILABLE": "Act now: the audit log cannot be written. Check GATEWAY_AUDIT_FILE and its disk.",
    "DISABLED": "Someone switched this off. /readyz says who, when and why; phoenix-gateway enable ends it.",
    "KEY_UNAVAILABLE": "The store of the launch key does not sign. phoenix-gateway doctor says why.",
    "STOPPING": "Nothing to do: the replica was stopping, and the caller opens a new stream.",
    "INTERNAL": "A fault of the gateway. Report it with the error's type and place.",
    "CANCELLED": "The caller cancelled before the answer. If it repeats an event, it must use the same event_id.",
}
VERDICTS: Mapping[str, str] = {
    "MISSING_SIGNATURE": "Not from Phoenix, or a proxy removes the header `signature`. Compare with other webhooks.",
    "MALFORMED_SIGNATURE": "Not from Phoenix, or a proxy changes the header `signature`.",
    "BAD_SIGNATURE": (
        "The body was not signed with Phoenix's key: forged, or changed on the way. The refusal is final, and no money"
        " moved. If genuine webhooks fail too, look for a proxy that rewrites bodies; if only this one does, find out"
        " who can reach the wallet's address."
    ),
    "KEY_UNAVAILABLE": "Phoenix's public key could not be fetched. Phoenix repeats; phoenix-gateway doctor says why.",
    "KEY_RETIRED": "Phoenix has just replaced its key and repeats the webhook. Nothing to do if it ends soon.",
    "MALFORMED_BODY": "Signed by Phoenix, but no JSON object. Report it to Phoenix with the request id.",
    "MISSING_IDEMPOTENCY_KEY": "A proxy removes the header `idempotency-key`, or Phoenix did not send it.",
    "WRONG_OPERATOR": "Phoenix sends another operator's webhooks here, or the configuration names the wrong one.",
    "WRONG_ENVIRONMENT": "Sandbox and production are mixed: correct the webhook address at Phoenix.",
    "UNREADABLE_OPERATION": "A person decides: phoenix-gateway evidence list --unreadable, then settle it.",
    "HELD_SUSPECT_REPLAY": (
        "Held, because the same signed body came before under another key. Compare both operations, then release it"
        " as docs/wallet.md says."
    ),
    "STORE_UNAVAILABLE": "Act now: the claim could not be stored. Phoenix repeats; check the database.",
    "AMBIGUOUS_HEADERS": "A proxy sends `signature` or `idempotency-key` twice. Correct it; Phoenix repeats.",
}


def advice_for(story: Mapping[str, Any]) -> str:
    """Return what to do about a story; empty for a success. Where Phoenix may have acted, that comes first."""
    reason, verdict = str(story.get("reason")), str(story.get("verdict"))
    found = REASONS.get(reason, "") or VERDICTS.get(verdict, "")
    left_after_sending = reason == "CANCELLED" and bool(story.get("sent"))
    if reason != "OUTCOME_UNKNOWN" and (left_after_sending or story.get("effect") in _ACTED):
        return f"{REASONS['OUTCOME_UNKNOWN']} {found}".strip()
    return found
