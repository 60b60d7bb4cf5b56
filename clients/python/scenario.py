"""A caller in one program: `python scenario.py GATEWAY CONTROL`. The clients of all languages print scenario.txt.

CONTROL is the control URL of a sandbox. Restart the gateway after it prints "watch: first board".
"""

from __future__ import annotations

import json
import sys
import time
from base64 import b64decode
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener

from phoenix_gateway_client import EventIdReused, Gateway, Webhook, error_of, v1

BOARD = "scenario"


def send_events(gateway: Gateway) -> None:
    """Send 100 events in a stream."""
    board = v1.EnsureLeaderboardRequest(leaderboard_id=BOARD, name="Scenario")
    gateway.leaderboard_admin.ensure_leaderboard(board)
    with gateway.event_stream() as stream:
        sent = [
            stream.send(v1.Event(leaderboard_id=BOARD, user_id=f"user-{number}", score_delta=number))
            for number in range(1, 101)
        ]
    failed = [one for message in sent for one in message.result() if error_of(one.error)]
    print(f"events: {len(sent)} sent, {len(failed)} failed", flush=True)


def read_board(gateway: Gateway) -> None:
    """Read until all events are counted: durable events are delivered a moment later."""
    request = v1.GetLeaderboardRequest(leaderboard_id=BOARD)
    request.max_staleness.SetInParent()  # zero: a fresh read
    entries: Any = []
    while len(entries) < 100:
        time.sleep(0.1)
        entries = gateway.leaderboards.get_leaderboard(request).leaderboard.entries
    print(f"board: {len(entries)} entries, first is {entries[0].user_id} with {entries[0].score:g}", flush=True)


def mint_token(gateway: Gateway) -> None:
    """Mint a launch token."""
    answer = gateway.tokens.mint_launch_jwt(v1.MintLaunchJWTRequest(visitor=v1.VisitorSession()))
    print("token: minted" if answer.token else "token: missing", flush=True)


def verify_webhooks(gateway: Gateway, control: str) -> None:
    """Verify a good and a forged webhook; record the outcome of the good one."""
    call = gateway.verify_wallet(signed(control, {}))
    if call.is_move:
        reply = gateway.record_wallet_outcome(call, 200, b'{"status":"completed"}', operator_transaction_id="tx-1")
        print(f"good webhook: verified, outcome recorded, answered {reply.status}", flush=True)
    forged = gateway.verify_wallet(signed(control, {"forge": "body"}))
    if forged.reply is not None:
        print(f"forged webhook: refused, answered {forged.reply.status}", flush=True)


def signed(control: str, members: dict[str, Any]) -> Webhook:
    """Have the sandbox sign a webhook."""
    request = Request(f"{control}/wallet/sign", data=json.dumps(members).encode(), method="POST")  # noqa: S310 - ours
    with build_opener(ProxyHandler({})).open(request, timeout=30) as answer:
        found = json.loads(answer.read())
    headers = [(name.encode(), value.encode()) for name, value in found["headers"]]
    return Webhook(found["method"], found["path"], headers, b64decode(found["body_base64"]))


def handle_error(gateway: Gateway) -> None:
    """Give two different events one id."""
    for score in (1, 2):
        event = v1.Event(event_id="scenario-reused", leaderboard_id=BOARD, user_id="user-1", score_delta=score)
        try:
            gateway.events.submit_event(v1.SubmitEventRequest(event=event))
        except EventIdReused as error:
            print(f"error: {error.reason}", flush=True)


def watch_board(gateway: Gateway) -> None:
    """Watch the board over a restart of the gateway."""
    boards = gateway.watch_leaderboard(BOARD)
    first = next(boards)
    print("watch: first board", flush=True)
    while next(boards).epoch == first.epoch:
        pass
    print("watch: board after the restart", flush=True)


def main() -> None:
    """Do all in turn."""
    target, control = sys.argv[1:]
    with Gateway(target) as gateway:
        send_events(gateway)
        read_board(gateway)
        mint_token(gateway)
        verify_webhooks(gateway, control)
        handle_error(gateway)
        watch_board(gateway)


if __name__ == "__main__":
    main()
