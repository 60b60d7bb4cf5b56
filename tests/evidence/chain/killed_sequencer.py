"""Runs child processes that kill themselves with SIGKILL at successive points, until one child finishes.

`python -m tests.evidence.chain.killed_sequencer PLACE`: each child makes two wallet operations with outcomes and lets
a sequencer chain them. It dies before or after the statement with its number, or before the commit or the answer. The
last line of the output says how many children died, and the last child's exit code.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any

import sqlalchemy as sa

from gateway.core.ed25519 import load_signing_key
from gateway.core.wallet_operation import same_move
from gateway.evidence.chain.sequencer import SequencerSettings
from gateway.evidence.durable import DurableWalletStore
from tests.evidence.chain.chain_setup import public_key_of, sequencer, signed_claim
from tests.evidence.wallet_factory import outcome_of, soon
from tests.fixtures_database import open_place


class Countdown:
    """Kills this process at the point of that number, once it is armed."""

    def __init__(self, number: int) -> None:
        self.left = number
        self.is_armed = False

    def point(self, *_: Any, **__: Any) -> None:
        if self.is_armed:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


async def child(place: str, number: int) -> None:
    key = load_signing_key(os.environ["CHAIN_KEY"].encode())
    countdown = Countdown(number)
    sa.event.listen(sa.engine.Engine, "before_cursor_execute", countdown.point)
    sa.event.listen(sa.engine.Engine, "after_cursor_execute", countdown.point)
    sa.event.listen(sa.engine.Engine, "commit", countdown.point)
    store = DurableWalletStore(open_place(place), same_move=same_move, public_key_of=public_key_of)
    await store.start()
    for move in range(2):
        claimed = await store.claim(signed_claim(f"{number}-{move}"), soon(60))
        await store.record_outcome(outcome_of(claimed.operation_id), soon(60))
    database = open_place(place)
    # The lease of the process before ends at once, because this tests what happens between two steps.
    chain = sequencer(database, key=key, settings=SequencerSettings(lease_s=0.000001))
    countdown.is_armed = True
    await chain.step()
    countdown.point()
    countdown.is_armed = False
    await store.stop()
    await database.stop()


def main() -> None:
    deaths = 0
    while True:
        pid = os.fork()
        if pid == 0:
            asyncio.run(child(sys.argv[1], deaths + 1))
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
            deaths += 1
            continue
        print(f"{deaths} {os.waitstatus_to_exitcode(status)}", flush=True)
        return


if __name__ == "__main__":
    main()
