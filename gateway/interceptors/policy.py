"""Holds the longest time of each method, one row a method, and checks whether the caller may call the method.

The table is data, so that a test can compare it with the protos and a missing method stops the start. config/callers.py
works out what a caller may do when it reads the policy; this link only looks it up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gateway.actions.shared.call import Call
from gateway.core.rights import Callers
from gateway.errors import NotAllowed
from gateway.interceptors.chain import ArrivalCheck, StreamCheck

_V1 = "/phoenix.gateway.v1."


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodPolicy:
    """One row. `timeout_s`: the longest time of a call, whatever its caller's deadline; None: a stream, not limited."""

    timeout_s: float | None


_QUICK = MethodPolicy(timeout_s=5.0)
_UPSTREAM = MethodPolicy(timeout_s=15.0)
_BATCH = MethodPolicy(timeout_s=60.0)
NO_TIMEOUT = MethodPolicy(timeout_s=None)

METHODS: Mapping[str, MethodPolicy] = {
    _V1 + "EventService/SubmitEvent": _UPSTREAM,
    _V1 + "EventService/SubmitEvents": _BATCH,
    _V1 + "EventService/StreamEvents": NO_TIMEOUT,
    _V1 + "EventService/ListDeadLetters": _UPSTREAM,
    _V1 + "EventService/RedriveDeadLetters": _UPSTREAM,
    _V1 + "LeaderboardService/GetLeaderboard": _UPSTREAM,
    _V1 + "LeaderboardService/GetUserRank": _UPSTREAM,
    _V1 + "LeaderboardService/GetUserScore": _UPSTREAM,
    _V1 + "LeaderboardService/GetUserNeighbors": _UPSTREAM,
    _V1 + "LeaderboardService/BatchGetLeaderboards": _BATCH,
    _V1 + "LeaderboardService/BatchGetUserRanks": _BATCH,
    _V1 + "LeaderboardService/ListSnapshots": _UPSTREAM,
    _V1 + "LeaderboardService/GetSnapshot": _UPSTREAM,
    _V1 + "LeaderboardService/GetUserSnapshot": _UPSTREAM,
    _V1 + "LeaderboardService/WatchLeaderboard": NO_TIMEOUT,
    _V1 + "LeaderboardAdminService/EnsureLeaderboard": _UPSTREAM,
    _V1 + "LeaderboardAdminService/CreateLeaderboard": _UPSTREAM,
    _V1 + "LeaderboardAdminService/ListLeaderboards": _UPSTREAM,
    _V1 + "LeaderboardAdminService/GetLeaderboardDefinition": _UPSTREAM,
    _V1 + "LeaderboardAdminService/CheckAdminHealth": _UPSTREAM,
    _V1 + "TokenService/MintLaunchJWT": _QUICK,
    _V1 + "TokenService/BatchMintLaunchJWT": _QUICK,
    _V1 + "TokenService/MintTenantJWT": _QUICK,
    _V1 + "TokenService/MintAdminJWT": _QUICK,
    _V1 + "TokenService/SignLeaderboardSocket": _QUICK,
    _V1 + "WalletService/VerifyWallet": _QUICK,
    _V1 + "WalletService/RecordWalletOutcome": _QUICK,
    _V1 + "WalletService/GetWalletEvidence": _QUICK,
    _V1 + "WalletService/ListWalletEvidence": _UPSTREAM,
    _V1 + "WalletService/ExportWalletEvidence": NO_TIMEOUT,
    _V1 + "WalletService/ListUnreadableWebhooks": _UPSTREAM,
    _V1 + "WalletService/SettleUnreadableWebhook": _QUICK,
    _V1 + "OperatorService/GetOperatorSettings": _UPSTREAM,
    _V1 + "OperatorService/UpdateOperatorSettings": _UPSTREAM,
    _V1 + "OperatorService/ListCategories": _UPSTREAM,
    _V1 + "OperatorService/GetOperatorStats": _UPSTREAM,
    _V1 + "PhoenixService/Call": _UPSTREAM,
    _V1 + "KeyService/ListKeys": _QUICK,
    _V1 + "KeyService/GetPublicKey": _QUICK,
    _V1 + "KeyService/RefreshPlatformKey": _UPSTREAM,
    _V1 + "KeyService/RevokePlatformKey": _QUICK,
    "/grpc.health.v1.Health/Check": _QUICK,
    "/grpc.health.v1.Health/List": _QUICK,
    "/grpc.health.v1.Health/Watch": NO_TIMEOUT,
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo": NO_TIMEOUT,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": NO_TIMEOUT,
}


class PolicyIncomplete(Exception):
    """A method that is served has no row, or a row names no method that is served. The start fails."""


def check_complete(served: Iterable[str], table: Mapping[str, MethodPolicy] = METHODS) -> None:
    """Compare the table with the methods that are served. Raises: PolicyIncomplete, naming all gaps."""
    methods = set(served)
    missing = sorted(methods - set(table))
    unknown = sorted(set(table) - methods)
    if missing or unknown:
        raise PolicyIncomplete(f"methods without a policy row: {missing}; rows without a method: {unknown}")


class PolicyInForce:
    """The policy that is in force; a reload replaces it."""

    __slots__ = ("callers",)

    def __init__(self, callers: Callers) -> None:
        self.callers = callers


class Policy(ArrivalCheck, StreamCheck):
    """Refuses methods that the caller's grant does not contain. Belongs after Identity, which sets the grant."""

    def before(self, call: Call) -> None:
        """Refuse a method that the caller may not call. Raises: NotAllowed."""
        if call.method not in call.grant.methods:
            raise NotAllowed()

    def on_message(self, call: Call) -> None:
        """Check the method again: the policy may have changed since the stream began. Raises: NotAllowed."""
        if call.method not in call.grant.methods:
            raise NotAllowed()
