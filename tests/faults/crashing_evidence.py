"""The gateway with points in a wallet operation at which a process is killed once: `CRASH_FILE` says which.

The file has `POINT` and the pid to kill with its children (0: the gateway itself). It is removed after the kill. The
gateway's code is unchanged; the hooks run between its parts.
"""

from __future__ import annotations

import functools
import os
import signal
from pathlib import Path
from typing import Any

from gateway.actions.wallet.verify_wallet import VerifyWallet
from gateway.cli.entry import main
from gateway.evidence import durable
from gateway.evidence.record import Outcome
from gateway.evidence.rows import PendingClaim
from gateway.services.wallet import WalletService

POINTS = (
    *("arrived", "claim_queued", "claim_begun", "claim_written", "claim_committed", "claim_answering"),
    *("outcome_queued", "outcome_written", "outcome_committed", "outcome_answering"),
)
_KINDS = {PendingClaim: "claim", Outcome: "outcome"}


class CrashPoint:
    """Kills when its point is reached."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def reach(self, point: str) -> None:
        """Strike if this is it."""
        try:
            wanted, pid = self._path.read_text().split()
        except (FileNotFoundError, ValueError):
            return
        if wanted == point:
            self._path.unlink()
            kill_with_children(int(pid) or os.getpid())

    def reach_for(self, ops: Any, point: str) -> None:
        """Reach the point of every kind of operation that is there."""
        for kind, name in _KINDS.items():
            if any(isinstance(op, kind) for op in ops):
                self.reach(f"{name}_{point}")


def kill_with_children(pid: int) -> None:
    """End a process and what it started, as a power cut would."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for one in (pid, *map(int, children)):
        try:
            os.kill(one, signal.SIGKILL)
        except ProcessLookupError:
            pass  # it went by itself


def install(crash: CrashPoint) -> None:
    """Put the points into the parts."""
    store = durable.DurableWalletStore
    VerifyWallet.__call__ = _before(crash, "arrived", VerifyWallet.__call__)  # type: ignore[method-assign]
    store._commit = _committing(crash, store._commit)  # type: ignore[method-assign]
    parts = vars(durable)
    parts["claim_all"] = _claiming(crash, parts["claim_all"])
    parts["record_all"] = _recording(crash, parts["record_all"])
    answering = (("VerifyWallet", "claim"), ("RecordWalletOutcome", "outcome"))
    for method, kind in answering:
        setattr(WalletService, method, _after(crash, f"{kind}_answering", getattr(WalletService, method)))


def _before(crash: CrashPoint, point: str, original: Any) -> Any:
    @functools.wraps(original)
    async def wrapped(*arguments: Any, **named: Any) -> Any:
        crash.reach(point)
        return await original(*arguments, **named)

    return wrapped


def _after(crash: CrashPoint, point: str, original: Any) -> Any:
    @functools.wraps(original)
    async def wrapped(*arguments: Any, **named: Any) -> Any:
        answer = await original(*arguments, **named)
        crash.reach(point)
        return answer

    return wrapped


def _committing(crash: CrashPoint, original: Any) -> Any:
    async def commit(self: durable.DurableWalletStore, ops: Any, limit_s: float) -> Any:
        crash.reach_for(ops, "queued")
        results = await original(self, ops, limit_s)
        crash.reach_for(ops, "committed")
        return results

    return commit


def _claiming(crash: CrashPoint, original: Any) -> Any:
    def claim_all(connection: Any, pending: Any, same_move: Any) -> Any:
        if pending:
            crash.reach("claim_begun")
        results = original(connection, pending, same_move)
        if pending:
            crash.reach("claim_written")
        return results

    return claim_all


def _recording(crash: CrashPoint, original: Any) -> Any:
    def record_all(connection: Any, outcomes: Any, *more: Any) -> Any:
        results = original(connection, outcomes, *more)
        if outcomes:
            crash.reach("outcome_written")
        return results

    return record_all


if __name__ == "__main__":
    install(CrashPoint(Path(os.environ["CRASH_FILE"])))
    main()
