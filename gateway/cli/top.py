"""`phoenix-gateway top`: a board, printed once; and the table that `watch` shows too."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from gateway.v1 import leaderboards_pb2


def run(
    target: str,
    ca_file: Path | None,
    cert_file: Path | None,
    key_file: Path | None,
    request: leaderboards_pb2.GetLeaderboardRequest,
    *,
    as_json: bool,
) -> int:
    """Print the board; return the exit code."""
    import grpc
    from google.protobuf.json_format import MessageToDict

    from gateway.cli.connect import open_channel, print_failure
    from gateway.cli.options import WrongOptions
    from gateway.core.plain_text import json_page
    from gateway.v1 import leaderboards_pb2_grpc

    try:
        with open_channel(target, ca_file, cert_file, key_file) as channel:
            answer = leaderboards_pb2_grpc.LeaderboardServiceStub(channel).GetLeaderboard(request, timeout=15)
    except WrongOptions as error:
        print(error, file=sys.stderr)
        return 2
    except grpc.RpcError as error:
        print_failure(target, error)
        return 1
    if as_json:
        print(json_page(MessageToDict(answer, preserving_proto_field_name=True)))
        return 0
    from rich.console import Console

    age_s = answer.freshness.age.seconds + answer.freshness.age.nanos / 1e9
    Console().print(table_of(request.leaderboard_id, answer.leaderboard, {}, f"{age_s:.1f} s old"))
    return 0


def table_of(
    name: str, board: leaderboards_pb2.Leaderboard, before: Mapping[str, leaderboards_pb2.LeaderboardEntry], note: str
) -> Table:
    """Return the table of a board; `before`: the entries of the last one, by user."""
    from rich.table import Table

    from gateway.core.plain_text import cell

    table = Table(title=cell(f"{name}  {board.window_key}".rstrip()), caption=cell(note))
    table.add_column("rank", justify="right")
    table.add_column("user")
    table.add_column("score", justify="right")
    table.add_column("change", justify="right")
    for entry in board.entries:
        changes = change_of(before.get(entry.user_id), entry) if before else ""
        table.add_row(str(entry.rank), cell(entry.user_id), f"{entry.score:g}", changes)
    return table


def change_of(before: leaderboards_pb2.LeaderboardEntry | None, now: leaderboards_pb2.LeaderboardEntry) -> str:
    """Return how an entry changed since the last board: places and points gained or lost, or `new`."""
    if before is None:
        return "new"
    places, points = before.rank - now.rank, now.score - before.score
    changes = []
    if places:
        changes.append(f"{'up' if places > 0 else 'down'} {abs(places)}")
    if points:
        changes.append(f"{points:+g}")
    return " ".join(changes)
