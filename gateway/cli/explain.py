"""`phoenix-gateway explain REASON`: what a reason or a wallet verdict means and what to do; without a gateway.

`explain_story.py` explains ids.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

from gateway import errors
from gateway.core.plain_text import json_line
from gateway.core.wallet import Verdict
from gateway.core.wallet_adapter import WalletAdapter
from gateway.core.wallet_verdict import reply_for

UNKNOWN = 1


def is_reason(text: str) -> bool:
    """Whether the text is a reason or verdict, a misspelled one, or empty: not an id."""
    word = text.strip().upper()
    return not word or (re.fullmatch(r"[A-Z]+(_[A-Z]+)*", word) is not None and (word in _names() or bool(_near(word))))


def run(name: str, *, as_json: bool = False) -> int:
    """Print what the name means; return the exit code. An empty name lists all."""
    wanted = name.strip().upper()
    kinds = {kind.reason: kind for kind in _kinds(errors.GatewayError)}
    verdicts = {verdict.value: verdict for verdict in Verdict}
    if not wanted:
        if as_json:
            print(json_line({"reasons": sorted(kinds), "verdicts": list(verdicts)}))
        else:
            print("reasons: " + ", ".join(sorted(kinds)))
            print("wallet verdicts: " + ", ".join(verdicts))
        return 0
    found = [_reason(kinds[wanted])] if wanted in kinds else []
    found += [_verdict(verdicts[wanted])] if wanted in verdicts else []
    for meaning in found:
        print(json_line(meaning) if as_json else _in_lines(meaning))
    if found:
        return 0
    near = _near(wanted)
    hint = f"; did you mean {', '.join(near)}?" if near else "; run it without a name to list all"
    print(f"no such reason or verdict{hint}", file=sys.stderr)
    return UNKNOWN


def _names() -> list[str]:
    return [*(kind.reason for kind in _kinds(errors.GatewayError)), *(verdict.value for verdict in Verdict)]


def _near(wanted: str) -> list[str]:
    return get_close_matches(wanted, _names(), n=3)


def _reason(kind: type[errors.GatewayError]) -> dict[str, Any]:
    return {
        "reason": kind.reason,
        "status": kind.code,
        "meaning": (kind.__doc__ or "").splitlines()[0],
        "message": kind.default_message,
        "retry_after_s": kind.default_retry_after_s,
    }


def _verdict(verdict: Verdict) -> dict[str, Any]:
    reply = reply_for(verdict, WalletAdapter())
    status = None if reply is None else reply.status
    return {"verdict": verdict.value, "reply_status": status, "is_final": status in (400, 401, 403)}


def _in_lines(meaning: dict[str, Any]) -> str:
    if "verdict" in meaning:
        final = "final for Phoenix" if meaning["is_final"] else "Phoenix retries"
        status = meaning["reply_status"]
        does = f"The wallet does nothing and answers {status} ({final})."
        says = "The signature is valid; the disposition says what to do." if status is None else does
        return f"{meaning['verdict']} (verdict of VerifyWallet)\n  {says}"
    wait_s = meaning["retry_after_s"]
    wait = f"{wait_s:g} s, or a time that the gateway knows" if wait_s else "none: the same call again does not help"
    head = f"{meaning['reason']} ({meaning['status']})"
    return f"{head}\n  {meaning['meaning']}\n  {meaning['message']}\n  RetryInfo: {wait}"


def _kinds(root: type[errors.GatewayError]) -> Iterator[type[errors.GatewayError]]:
    for kind in root.__subclasses__():
        if "reason" in vars(kind):
            yield kind
        yield from _kinds(kind)
    if root is errors.GatewayError:
        yield errors.InternalFault
