"""The cases: one row for each bar, with its requests and its check."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from bench import boards, checks, payloads
from bench.credentials import Credentials

BOARD_SERVICE = "phoenix.gateway.v1.LeaderboardService"
EVENT_SERVICE = "phoenix.gateway.v1.EventService"
TOKEN_SERVICE = "phoenix.gateway.v1.TokenService"
WALLET_SERVICE = "phoenix.gateway.v1.WalletService"


class Against(enum.Enum):
    """The comparator of a bar."""

    EMPTY = "E"
    BASELINE = "N"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One bar.

    bar: the lowest accepted ratio of the subject's calls per second to the comparator's.
    all_alike: all requests may be the same, so h2load sends them. Otherwise the project's load generator does.
    counts_events: the upstream must accept as many events as calls are answered.
    events_per_call: the number of events in one call.
    settings: settings of the subject beside the defaults.
    streams: concurrent calls on each of the five connections.
    comparator: the case that N runs in place of this one; rates then count events. For batches, N sends single events,
        which is its fastest way: with thousands of events at once, its client is three times slower and times out.
    """

    name: str
    service: str
    method: str
    against: Against
    bar: float
    all_alike: bool
    requests: Callable[[Credentials, int], list[bytes]]
    check: Callable[[Credentials, Sequence[bytes]], checks.Faults]
    about: str
    counts_events: bool = False
    events_per_call: int = 1
    streams: int = 10
    comparator: Case | None = None
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """The gRPC path."""
        return f"/{self.service}/{self.method}"


BULK = {"PHOENIX_BULK_EVENTS": "events", "PHOENIX_DEDUPLICATES_EVENTS": "true"}

SINGLE_EVENTS = Case(
    name="single_events",
    service=EVENT_SERVICE,
    method="SubmitEvent",
    against=Against.BASELINE,
    bar=0,
    all_alike=True,
    requests=payloads.submit_event,
    check=checks.accepted_events,
    about="one event for each call: N runs this in place of a batch",
    counts_events=True,
)

CASES: tuple[Case, ...] = (
    Case(
        name="mint_launch_jwt",
        service=TOKEN_SERVICE,
        method="MintLaunchJWT",
        against=Against.EMPTY,
        bar=0.6,
        all_alike=True,
        requests=payloads.mint_launch_jwt,
        check=checks.launch_tokens,
        about="a player's launch token",
    ),
    Case(
        name="submit_event",
        service=EVENT_SERVICE,
        method="SubmitEvent",
        against=Against.BASELINE,
        bar=2.5,
        all_alike=True,
        requests=payloads.submit_event,
        check=checks.accepted_events,
        about="one event with Struct metadata, delivered before the answer",
        counts_events=True,
    ),
    Case(
        name="submit_event_coalesced",
        service=EVENT_SERVICE,
        method="SubmitEvent",
        against=Against.BASELINE,
        bar=5,
        all_alike=True,
        requests=payloads.submit_event,
        check=checks.accepted_events,
        about="one event with Struct metadata; concurrent events share bulk calls",
        counts_events=True,
        settings=BULK,
    ),
    Case(
        name="submit_event_coalesced_e",
        service=EVENT_SERVICE,
        method="SubmitEvent",
        against=Against.EMPTY,
        bar=0.7,
        all_alike=True,
        requests=payloads.submit_event,
        check=checks.accepted_events,
        about="submit_event_coalesced against the empty handler",
        counts_events=True,
        settings=BULK,
    ),
    Case(
        name="submit_events_json",
        service=EVENT_SERVICE,
        method="SubmitEvents",
        against=Against.BASELINE,
        bar=150,
        all_alike=True,
        requests=payloads.submit_events_json,
        check=checks.accepted_batches,
        about="100 events with metadata_json, in bulk calls",
        counts_events=True,
        events_per_call=payloads.BATCH,
        streams=1,
        comparator=SINGLE_EVENTS,
        settings=BULK,
    ),
    Case(
        name="submit_events_struct",
        service=EVENT_SERVICE,
        method="SubmitEvents",
        against=Against.BASELINE,
        bar=90,
        all_alike=True,
        requests=payloads.submit_events_struct,
        check=checks.accepted_batches,
        about="100 events with Struct metadata, in bulk calls",
        counts_events=True,
        events_per_call=payloads.BATCH,
        streams=1,
        comparator=SINGLE_EVENTS,
        settings=BULK,
    ),
    Case(
        name="verify_wallet_new",
        service=WALLET_SERVICE,
        method="VerifyWallet",
        against=Against.EMPTY,
        bar=0.5,
        all_alike=False,
        requests=payloads.new_moves,
        check=checks.claimed_moves,
        about="a new wallet operation, durable on SQLite",
    ),
    Case(
        name="verify_wallet_balance",
        service=WALLET_SERVICE,
        method="VerifyWallet",
        against=Against.EMPTY,
        bar=0.6,
        all_alike=True,
        requests=payloads.balance,
        check=checks.balances,
        about="a balance request: verified and parsed, no database",
    ),
    Case(
        name="verify_wallet_forged",
        service=WALLET_SERVICE,
        method="VerifyWallet",
        against=Against.EMPTY,
        bar=0.5,
        all_alike=True,
        requests=payloads.forged,
        check=checks.refused_forgeries,
        about="a forged wallet operation, with a current platform key",
    ),
    Case(
        name="get_leaderboard_cached_e",
        service=BOARD_SERVICE,
        method="GetLeaderboard",
        against=Against.EMPTY,
        bar=0.85,
        all_alike=True,
        requests=boards.read_board,
        check=boards.whole_boards,
        about="a board of 100 entries from the cache, refreshed every second in the background",
    ),
    Case(
        name="get_leaderboard_cached",
        service=BOARD_SERVICE,
        method="GetLeaderboard",
        against=Against.BASELINE,
        bar=10,
        all_alike=True,
        requests=boards.read_board,
        check=boards.whole_boards,
        about="the same against N, which calls Phoenix each time",
    ),
    Case(
        name="get_user_rank_uncached",
        service=BOARD_SERVICE,
        method="GetUserRank",
        against=Against.BASELINE,
        bar=3,
        all_alike=False,
        requests=boards.read_ranks,
        check=boards.different_ranks,
        about="the rank of a different user in each call",
    ),
)
