"""How long a call may take: a margin of its caller's deadline is kept for the answer."""

from __future__ import annotations

import math

import pytest

from gateway.actions.shared.call import Call, Peer
from gateway.errors import DeadlineTooShort
from gateway.interceptors.deadline import CallDeadline
from gateway.resilience.deadline import RETURN_MARGIN_S, Deadline
from tests.manual_clock import ManualClock

UNARY = "/phoenix.gateway.v1.TokenService/MintLaunchJWT"
STREAM = "/phoenix.gateway.v1.WalletService/ExportWalletEvidence"


def left_after(method: str, given_s: float) -> float:
    """How many seconds the chain leaves of a caller's deadline."""
    clock = ManualClock()
    deadline = Deadline(at=clock.monotonic() + given_s, clock=clock)
    peer = Peer(address="ipv4:127.0.0.1:1")
    call = Call(method=method, peer=peer, request_id="r", deadline=deadline, arrived_at=clock.monotonic())
    CallDeadline(clock).before(call)
    return call.deadline.remaining()


@pytest.mark.parametrize("method", [UNARY, STREAM])
def test_every_call_keeps_a_margin_for_its_answer(method: str) -> None:
    """A stream too: its caller would else see a deadline without a reason."""
    assert left_after(method, 1.0) == pytest.approx(1.0 - RETURN_MARGIN_S)


def test_a_method_has_a_longest_time_and_a_stream_has_none() -> None:
    """Whatever the caller allows."""
    assert (left_after(UNARY, math.inf), left_after(STREAM, math.inf)) == (5.0, math.inf)


@pytest.mark.parametrize("method", [UNARY, STREAM])
def test_a_deadline_that_leaves_nothing_is_refused(method: str) -> None:
    """Before anything is done."""
    with pytest.raises(DeadlineTooShort):
        left_after(method, RETURN_MARGIN_S / 2)
