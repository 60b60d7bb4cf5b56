"""The cases: one row for each kind of call, with its bars, its requests and its check."""

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


ECHO_SERVICE = "phoenix.bench.Echo"


class Against(enum.Enum):
    """The comparator of a bar."""

    EMPTY = "E"
    BASELINE = "N"
    GO = "G"
    GO_ECHO = "go_echo"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """The lowest accepted ratio of the subject's calls per second to the comparator's, and the ratio to aim at.

    p99_no_worse: the subject's p99 must not be above the comparator's either.
    """

    against: Against
    must: float
    aim: float | None = None
    p99_no_worse: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One kind of call and its bars.

    subject: "gateway", or "F" for the empty handler on the gateway's HTTP/2 front.
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
    bars: tuple[Bar, ...]
    all_alike: bool
    requests: Callable[[Credentials, int], list[bytes]]
    check: Callable[[Credentials, Sequence[bytes]], checks.Faults]
    about: str
    counts_events: bool = False
    events_per_call: int = 1
    streams: int = 10
    subject: str = "gateway"
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
    bars=(),
    all_alike=True,
    requests=payloads.submit_event,
    check=checks.accepted_events,
    about="one event for each call: N runs this in place of a batch",
    counts_events=True,
)

CASES: tuple[Case, ...] = (
    Case(
        name="empty_handler",
        service=ECHO_SERVICE,
        method="Echo",
        bars=(Bar(against=Against.GO_ECHO, must=0.6, aim=0.9),),
        all_alike=True,
        requests=payloads.echo,
        check=checks.echoes,
        about="an empty handler on the HTTP/2 front (F): parses a message of 64 bytes and returns it",
        subject="F",
    ),
    Case(
        name="mint_launch_jwt",
        service=TOKEN_SERVICE,
        method="MintLaunchJWT",
        bars=(
            Bar(against=Against.GO, must=0.5, aim=0.8),
            Bar(against=Against.EMPTY, must=0.6),
        ),
        all_alike=True,
        requests=payloads.mint_launch_jwt,
        check=checks.launch_tokens,
        about="a player's launch token",
    ),
    Case(
        name="submit_event",
        service=EVENT_SERVICE,
        method="SubmitEvent",
        bars=(
            Bar(against=Against.GO, must=0.3, aim=0.5),
            Bar(against=Against.BASELINE, must=2.5),
        ),
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
        bars=(
            Bar(against=Against.GO, must=0.5, aim=0.8),
            Bar(against=Against.BASELINE, must=5),
            Bar(against=Against.EMPTY, must=0.7),
        ),
        all_alike=True,
        requests=payloads.submit_event,
        check=checks.accepted_events,
        about="one event with Struct metadata; concurrent events share bulk calls",
        counts_events=True,
        settings=BULK,
    ),
    Case(
        name="submit_events_json",
        service=EVENT_SERVICE,
        method="SubmitEvents",
        bars=(
            Bar(against=Against.GO, must=0.5, aim=1.0),
            Bar(against=Against.BASELINE, must=150),
        ),
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
        bars=(Bar(against=Against.BASELINE, must=90),),
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
        bars=(
            Bar(against=Against.GO, must=0.55, aim=0.8, p99_no_worse=True),
            Bar(against=Against.EMPTY, must=0.5),
        ),
        all_alike=False,
        requests=payloads.new_moves,
        check=checks.claimed_moves,
        about="a new wallet operation, durable on SQLite",
    ),
    Case(
        name="verify_wallet_balance",
        service=WALLET_SERVICE,
        method="VerifyWallet",
        bars=(
            Bar(against=Against.GO, must=0.4, aim=0.75),
            Bar(against=Against.EMPTY, must=0.6),
        ),
        all_alike=True,
        requests=payloads.balance,
        check=checks.balances,
        about="a balance request: verified and parsed, no database",
    ),
    Case(
        name="verify_wallet_forged",
        service=WALLET_SERVICE,
        method="VerifyWallet",
        bars=(
            Bar(against=Against.GO, must=0.4, aim=0.75),
            Bar(against=Against.EMPTY, must=0.5),
        ),
        all_alike=True,
        requests=payloads.forged,
        check=checks.refused_forgeries,
        about="a forged wallet operation, with a current platform key",
    ),
    Case(
        name="get_leaderboard_cached",
        service=BOARD_SERVICE,
        method="GetLeaderboard",
        bars=(
            Bar(against=Against.GO, must=0.4, aim=0.8),
            Bar(against=Against.BASELINE, must=14, aim=20),
            Bar(against=Against.EMPTY, must=0.85),
        ),
        all_alike=True,
        requests=boards.read_board,
        check=boards.whole_boards,
        about="a cached board of 100 entries, refreshed every second in the background; N calls Phoenix each time",
    ),
    Case(
        name="get_user_rank_uncached",
        service=BOARD_SERVICE,
        method="GetUserRank",
        bars=(
            Bar(against=Against.GO, must=0.25, aim=0.5),
            Bar(against=Against.BASELINE, must=4),
        ),
        all_alike=False,
        requests=boards.read_ranks,
        check=boards.different_ranks,
        about="the rank of a different user in each call",
    ),
)
