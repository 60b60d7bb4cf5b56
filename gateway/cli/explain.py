"""`phoenix-gateway explain REASON`: what a reason or a wallet verdict means and what to do; without a gateway."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from difflib import get_close_matches

from gateway import errors
from gateway.core.wallet import Verdict
from gateway.core.wallet_adapter import WalletAdapter
from gateway.core.wallet_verdict import reply_for

UNKNOWN = 1


def run(name: str) -> int:
    """Print what the name means; return the exit code. An empty name lists all."""
    wanted = name.strip().upper()
    kinds = {kind.reason: kind for kind in _kinds(errors.GatewayError)}
    verdicts = {verdict.value: verdict for verdict in Verdict}
    if not wanted:
        print("reasons: " + ", ".join(sorted(kinds)))
        print("wallet verdicts: " + ", ".join(verdicts))
        return 0
    if wanted in kinds:
        _reason(kinds[wanted])
    if wanted in verdicts:
        _verdict(verdicts[wanted])
    if wanted in kinds or wanted in verdicts:
        return 0
    near = get_close_matches(wanted, [*kinds, *verdicts], n=3)
    hint = f"; did you mean {', '.join(near)}?" if near else "; run it without a name to list all"
    print(f"no such reason or verdict{hint}", file=sys.stderr)
    return UNKNOWN


def _reason(kind: type[errors.GatewayError]) -> None:
    print(f"{kind.reason} ({kind.code})")
    print(f"  {(kind.__doc__ or '').splitlines()[0]}")
    print(f"  {kind.default_message}")
    wait_s = kind.default_retry_after_s
    wait = f"{wait_s:g} s, or a time that the gateway knows" if wait_s else "none: the same call again does not help"
    print(f"  RetryInfo: {wait}")


def _verdict(verdict: Verdict) -> None:
    reply = reply_for(verdict, WalletAdapter())
    print(f"{verdict.value} (verdict of VerifyWallet)")
    if reply is None:
        print("  The signature is valid; the disposition says what to do.")
    else:
        final = "final for Phoenix" if reply.status in (400, 401, 403) else "Phoenix retries"
        print(f"  The wallet does nothing and answers {reply.status} ({final}).")


def _kinds(root: type[errors.GatewayError]) -> Iterator[type[errors.GatewayError]]:
    for kind in root.__subclasses__():
        if "reason" in vars(kind):
            yield kind
        yield from _kinds(kind)
    if root is errors.GatewayError:
        yield errors.InternalFault
