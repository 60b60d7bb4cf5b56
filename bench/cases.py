"""What is measured: one row per bar. A later bar is another row here, its requests and its check."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from bench import boards, checks, prepared
from bench.world import World

BOARD_SERVICE = "phoenix.gateway.v1.LeaderboardService"
EVENT_SERVICE = "phoenix.gateway.v1.EventService"
TOKEN_SERVICE = "phoenix.gateway.v1.TokenService"
WALLET_SERVICE = "phoenix.gateway.v1.WalletService"


class Against(enum.Enum):
    """The comparator that a bar is about."""

    EMPTY = "E"
    OBVIOUS = "N"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One bar. `all_alike`: every request may be the same, so h2load sends them; else the project's generator.

    `bar` is the least ratio of the subject's calls a second to the comparator's. `counts_events`: the upstream must
    have accepted as many events as calls were answered. `events_per_call`: how many events one call carries.
    `settings`: of the subject, beside the embedded defaults. `streams`: calls at once on each of five connections.
    `comparator`: what N does in place of this case; its rate counts by events. For batches that is single events, its
    best: given thousands at once, its client does a third of that and times out.
    """

    name: str
    service: str
    method: str
    against: Against
    bar: float
    all_alike: bool
    requests: Callable[[World, int], list[bytes]]
    check: Callable[[World, Sequence[bytes]], checks.Faults]
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
    against=Against.OBVIOUS,
    bar=0,
    all_alike=True,
    requests=prepared.submit_event,
    check=checks.accepted_events,
    about="what N does in place of a batch",
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
        requests=prepared.mint_launch_jwt,
        check=checks.launch_tokens,
        about="a player's launch token",
    ),
    Case(
        name="submit_event",
        service=EVENT_SERVICE,
        method="SubmitEvent",
        against=Against.OBVIOUS,
        bar=2.5,
        all_alike=True,
        requests=prepared.submit_event,
        check=checks.accepted_events,
        about="one event with Struct metadata, delivered before the answer",
        counts_events=True,
    ),
    Case(
        name="submit_event_coalesced",
        service=EVENT_SERVICE,
        method="SubmitEvent",
        against=Against.OBVIOUS,
        bar=5,
        all_alike=True,
        requests=prepared.submit_event,
        check=checks.accepted_events,
        about="one event with Struct metadata; events of concurrent callers leave in bulk calls",
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
        requests=prepared.submit_event,
        check=checks.accepted_events,
        about="the same against the empty handler",
        counts_events=True,
        settings=BULK,
    ),
    Case(
        name="submit_events_json",
        service=EVENT_SERVICE,
        method="SubmitEvents",
        against=Against.OBVIOUS,
        bar=150,
        all_alike=True,
        requests=prepared.submit_events_json,
        check=checks.accepted_batches,
        about="100 events with metadata_json, in bulk calls",
        counts_events=True,
        events_per_call=prepared.BATCH,
        streams=1,
        comparator=SINGLE_EVENTS,
        settings=BULK,
    ),
    Case(
        name="submit_events_struct",
        service=EVENT_SERVICE,
        method="SubmitEvents",
        against=Against.OBVIOUS,
        bar=90,
        all_alike=True,
        requests=prepared.submit_events_struct,
        check=checks.accepted_batches,
        about="100 events with Struct metadata, in bulk calls",
        counts_events=True,
        events_per_call=prepared.BATCH,
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
        requests=prepared.new_moves,
        check=checks.claimed_moves,
        about="a move that nobody has seen, durable on SQLite; issue 4's bar was 0.4",
    ),
    Case(
        name="verify_wallet_balance",
        service=WALLET_SERVICE,
        method="VerifyWallet",
        against=Against.EMPTY,
        bar=0.6,
        all_alike=True,
        requests=prepared.balance,
        check=checks.balances,
        about="a call for a balance: verified and read, no database",
    ),
    Case(
        name="verify_wallet_forged",
        service=WALLET_SERVICE,
        method="VerifyWallet",
        against=Against.EMPTY,
        bar=0.5,
        all_alike=True,
        requests=prepared.forged,
        check=checks.refused_forgeries,
        about="a forged move, with a current platform key",
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
        about="a board of 100 entries, from the cache; read again behind every second",
    ),
    Case(
        name="get_leaderboard_cached",
        service=BOARD_SERVICE,
        method="GetLeaderboard",
        against=Against.OBVIOUS,
        bar=10,
        all_alike=True,
        requests=boards.read_board,
        check=boards.whole_boards,
        about="the same against N, which asks Phoenix each time",
    ),
    Case(
        name="get_user_rank_uncached",
        service=BOARD_SERVICE,
        method="GetUserRank",
        against=Against.OBVIOUS,
        bar=3,
        all_alike=False,
        requests=boards.read_ranks,
        check=boards.different_ranks,
        about="ranks of users none of whom was asked for before",
    ),
)
