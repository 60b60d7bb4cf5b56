"""How long to wait, said in every place alike: `Retry-After`, RetryInfo, `grpc-retry-pushback-ms`."""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from gateway.config.model import DEFAULT_FRONT, FrontKind
from gateway.v1 import (
    events_pb2,
    events_pb2_grpc,
    leaderboard_admin_pb2,
    leaderboard_admin_pb2_grpc,
    leaderboards_pb2,
    leaderboards_pb2_grpc,
    operator_pb2,
    operator_pb2_grpc,
    tokens_pb2,
    tokens_pb2_grpc,
    wallet_pb2_grpc,
)
from tests.gateway_process import GatewayProcess, of_sandbox, reason_of
from tests.integration.test_wallet import reserve
from tests.sandbox_process import SandboxProcess

OTHERS = [one for one in FrontKind if one is not DEFAULT_FRONT]
WAIT_S = 40.0
"""Longer than a call may take, so that the gateway does not wait itself."""
DATE_IN_S = 3000.0
PATIENT_S, HURRIED_S = 4000.0, 10.0
"""Deadlines of callers that can wait as long as they are told to, and that cannot."""
BUSY_S = 60.0
"""A busy machine takes so long at most."""
POLICY = """
[[callers]]
name = "local"
allow = ["*"]
tenants = ["*"]
operators = ["*"]

[[callers]]
name = "limited"
allow = ["tokens.*"]
operators = ["*"]
limits = {requests_per_s = 0.02}
"""
_numbers = itertools.count()


@dataclass
class Served:
    """A gateway, a channel to it, and one of a caller who may call once in 50 s."""

    gateway: GatewayProcess
    channel: grpc.Channel
    limited: grpc.Channel


@pytest.fixture(
    scope="module", params=[DEFAULT_FRONT.value, *(pytest.param(one.value, marks=pytest.mark.faults) for one in OTHERS)]
)
def served(request: pytest.FixtureRequest, sandbox_process: SandboxProcess) -> Iterator[Served]:
    """A gateway over either front."""
    with tempfile.TemporaryDirectory(prefix="advice-") as folder:
        policy = Path(folder) / "policy.toml"
        policy.touch(mode=0o600)
        policy.write_text(POLICY)
        environ = {
            **of_sandbox(sandbox_process.urls, sandbox_process.environ),
            "GATEWAY_FRONT": request.param,
            "GATEWAY_CONFIG": str(policy),
            "GATEWAY_SOCKETS": f"limited={folder}/limited.sock",
        }
        with (
            GatewayProcess(environ) as gateway,
            grpc.insecure_channel(gateway.address) as channel,
            grpc.insecure_channel(f"unix:{folder}/limited.sock") as limited,
        ):
            gateway.wait_serving("phoenix.gateway.v1.WalletService")
            yield Served(gateway, channel, limited)


def submit(channel: grpc.Channel, timeout_s: float) -> Any:
    event = events_pb2.Event(leaderboard_id="xp", user_id="ada", score_delta=1)
    return events_pb2_grpc.EventServiceStub(channel).SubmitEvent(
        events_pb2.SubmitEventRequest(event=event), timeout=timeout_s
    )


def rank(channel: grpc.Channel, timeout_s: float) -> Any:
    request = leaderboards_pb2.GetUserRankRequest(leaderboard_id="xp", user_id=f"user-{next(_numbers)}")
    return leaderboards_pb2_grpc.LeaderboardServiceStub(channel).GetUserRank(request, timeout=timeout_s)


def boards(channel: grpc.Channel, timeout_s: float) -> Any:
    request = leaderboard_admin_pb2.ListLeaderboardsRequest()
    return leaderboard_admin_pb2_grpc.LeaderboardAdminServiceStub(channel).ListLeaderboards(request, timeout=timeout_s)


def categories(channel: grpc.Channel, timeout_s: float) -> Any:
    request = operator_pb2.ListCategoriesRequest()
    return operator_pb2_grpc.OperatorServiceStub(channel).ListCategories(request, timeout=timeout_s)


def mint(channel: grpc.Channel, timeout_s: float) -> Any:
    request = tokens_pb2.MintLaunchJWTRequest(visitor=tokens_pb2.VisitorSession())
    return tokens_pb2_grpc.TokenServiceStub(channel).MintLaunchJWT(request, timeout=timeout_s)


def refused(call: Callable[[grpc.Channel, float], Any], channel: grpc.Channel, timeout_s: float) -> grpc.RpcError:
    """Return the failure of a call."""
    with pytest.raises(grpc.RpcError) as caught:
        call(channel, timeout_s)
    return caught.value


def retry_info_s(status: status_pb2.Status) -> float | None:
    """Return the wait that RetryInfo names; None if there is none."""
    info = error_details_pb2.RetryInfo()
    found = any(detail.Unpack(info) for detail in status.details)
    return info.retry_delay.ToNanoseconds() / 1e9 if found else None


def advice(error: Any) -> tuple[float | None, str | None]:
    """Return the wait of RetryInfo and the pushback of a failed call."""
    trailing = dict(error.trailing_metadata())
    status = status_pb2.Status.FromString(trailing["grpc-status-details-bin"])
    return retry_info_s(status), trailing.get("grpc-retry-pushback-ms")


@pytest.mark.parametrize("form", ["seconds", "date"])
@pytest.mark.parametrize(("status", "reason"), [(429, "PHOENIX_RATE_LIMITED"), (503, "PHOENIX_UNAVAILABLE")])
@pytest.mark.parametrize("call", [submit, rank, boards, categories])
def test_what_phoenix_asks_for_is_passed_on(
    served: Served,
    sandbox: SandboxProcess,
    call: Callable[[grpc.Channel, float], Any],
    status: int,
    reason: str,
    form: str,
) -> None:
    """As RetryInfo and as pushback; -1 there, if the caller's own deadline is over by then."""
    wait_s = WAIT_S if form == "seconds" else DATE_IN_S
    text = str(round(WAIT_S)) if form == "seconds" else formatdate(time.time() + DATE_IN_S, usegmt=True)
    sandbox.control(
        "POST", "/faults", {"surface": "*", "kind": "status", "status": status, "headers": {"Retry-After": text}}
    )
    for timeout_s in (PATIENT_S, HURRIED_S):
        error = refused(call, served.channel, timeout_s)
        told_s, pushback = advice(error)
        assert reason == reason_of(error)
        assert told_s is not None
        assert told_s == wait_s if form == "seconds" else wait_s - BUSY_S < told_s <= wait_s
        assert pushback == (str(round(told_s * 1000)) if timeout_s == PATIENT_S else "-1")


def test_an_item_of_a_batch_says_it_too(served: Served, sandbox: SandboxProcess) -> None:
    """Its status has the RetryInfo of a single event's."""
    fault = {"surface": "ingestion", "kind": "status", "status": 429, "headers": {"Retry-After": str(round(WAIT_S))}}
    sandbox.control("POST", "/faults", fault)
    events = [events_pb2.Event(leaderboard_id="xp", user_id=user, score_delta=1) for user in ("ada", "bob")]
    answer = events_pb2_grpc.EventServiceStub(served.channel).SubmitEvents(
        events_pb2.SubmitEventsRequest(events=events), timeout=HURRIED_S
    )
    assert [WAIT_S] * 2 == [
        retry_info_s(status_pb2.Status.FromString(one.error.SerializeToString())) for one in answer.results
    ]


def test_our_own_limit_says_it_alike(served: Served) -> None:
    """RATE_LIMITED: the wait until the next call passes."""
    mint(served.limited, HURRIED_S)
    error = refused(mint, served.limited, PATIENT_S)
    told_s, pushback = advice(error)
    assert "RATE_LIMITED" == reason_of(error)
    assert told_s is not None
    assert 0 < told_s <= 50
    assert str(round(told_s * 1000)) == pushback
    if told_s > HURRIED_S + 1:
        assert "-1" == advice(refused(mint, served.limited, told_s / 4))[1]


def test_a_wallets_503_has_its_retry_after(served: Served, sandbox: SandboxProcess) -> None:
    """Whole seconds, which the wallet sends to Phoenix; a refusal that is final has none."""
    wallet = wallet_pb2_grpc.WalletServiceStub(served.channel)
    late = reserve(sandbox)
    sandbox.control("POST", "/keys/rotate", {})
    wallet.VerifyWallet(reserve(sandbox), timeout=HURRIED_S)
    reply = wallet.VerifyWallet(late, timeout=HURRIED_S).reply
    assert (503, 2) == (reply.status, reply.retry_after_seconds)
    final = wallet.VerifyWallet(reserve(sandbox, forge="missing"), timeout=HURRIED_S).reply
    assert (401, 0) == (final.status, final.retry_after_seconds)
