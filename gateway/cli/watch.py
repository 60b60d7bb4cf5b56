"""`phoenix-gateway watch`: a live table of a board, or a line of JSON per update."""

from __future__ import annotations

import os
import select
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import grpc

    from gateway.v1 import leaderboards_pb2
    from gateway.v1.leaderboards_pb2 import WatchLeaderboardRequest, WatchLeaderboardResponse

AGAIN_AFTER_S = 1.0


def run(
    target: str,
    ca_file: Path | None,
    cert_file: Path | None,
    key_file: Path | None,
    request: WatchLeaderboardRequest,
    *,
    count: int,
    as_json: bool,
) -> int:
    """Show updates until Ctrl-C, or until `count` of them; return the exit code."""
    import grpc

    from gateway.cli.connect import open_channel, print_failure
    from gateway.cli.options import WrongOptions

    try:
        with open_channel(target, ca_file, cert_file, key_file) as channel:
            reader = _Reader(channel.close)
            try:
                _show(_updates(channel, request, count), request.leaderboard_id, as_json=as_json)
            except (grpc.RpcError, ValueError):  # ValueError: a call on the closed channel
                if not reader.is_gone:
                    raise
    except WrongOptions as error:
        print(error, file=sys.stderr)
        return 2
    except grpc.RpcError as error:
        print_failure(target, error)
        return 1
    except BrokenPipeError:
        # Python would complain again when it flushes standard output at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 0
    return 0


class _Reader:
    """Notices when whoever reads standard output has gone, such as `head -1`, also while nothing is written."""

    def __init__(self, on_gone: Callable[[], None]) -> None:
        self.is_gone = False
        self._on_gone = on_gone
        if hasattr(select, "poll"):
            threading.Thread(target=self._wait, name="stdout-reader", daemon=True).start()

    def _wait(self) -> None:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)  # errors and hang-ups only
        poll.poll()
        self.is_gone = True
        self._on_gone()


def _updates(channel: grpc.Channel, request: WatchLeaderboardRequest, count: int) -> Iterator[WatchLeaderboardResponse]:
    """Yield updates. After the first one, reconnect when the stream ends or the gateway is unavailable."""
    import grpc

    from gateway.v1 import leaderboards_pb2_grpc

    stub = leaderboards_pb2_grpc.LeaderboardServiceStub(channel)
    seen = 0
    while True:
        stream = stub.WatchLeaderboard(request, wait_for_ready=seen > 0)
        try:
            for update in stream:
                yield update
                seen += 1
                if seen == count:
                    return
        except grpc.RpcError as error:
            if not seen or not _is_unavailable(error):
                raise
        finally:
            stream.cancel()
        print("connection lost; reconnecting", file=sys.stderr)
        time.sleep(AGAIN_AFTER_S)


def _is_unavailable(error: Exception) -> bool:
    import grpc

    return isinstance(error, grpc.Call) and error.code() is grpc.StatusCode.UNAVAILABLE


def _show(updates: Iterator[WatchLeaderboardResponse], name: str, *, as_json: bool) -> None:
    if as_json:
        from google.protobuf.json_format import MessageToDict

        from gateway.core.plain_text import json_line

        for update in updates:
            print(json_line(MessageToDict(update, preserving_proto_field_name=True)), flush=True)
        return
    from rich.live import Live
    from rich.table import Table

    from gateway.cli.top import table_of

    before: dict[str, leaderboards_pb2.LeaderboardEntry] = {}
    latest: WatchLeaderboardResponse | None = None

    def drawn() -> Table | str:
        if latest is None:
            return "waiting for the board"
        age_s = max(0.0, time.time() - latest.receive_time.seconds - latest.receive_time.nanos / 1e9)
        note = f"last change {age_s:.0f} s ago, number {latest.sequence}"
        return table_of(name, latest.leaderboard, before, note)

    with Live(get_renderable=drawn, refresh_per_second=4):
        for update in updates:
            if latest is not None:
                before = {entry.user_id: entry for entry in latest.leaderboard.entries}
            latest = update
