"""A process of the store tests that makes claims and prints each acknowledgement at once.

`python -m tests.evidence.claiming_process PLACE same COUNT` waits for a line on stdin and then makes COUNT concurrent
claims of one key.
`python -m tests.evidence.claiming_process PLACE series NAME` claims NAME-0, NAME-1 and so on, each with its outcome,
until it is killed.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter

from gateway.core.wallet_operation import same_move
from gateway.errors import GatewayError
from gateway.evidence.durable import DurableWalletStore
from tests.evidence.wallet_factory import claim_of, outcome_of, soon
from tests.fixtures_database import open_place


async def same(store: DurableWalletStore, count: int) -> None:
    await store.check(soon())
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    results = await asyncio.gather(
        *(store.claim(claim_of("the-key"), soon(30)) for _ in range(count)), return_exceptions=True
    )
    reported = Counter(
        result.reason if isinstance(result, GatewayError) else getattr(result, "disposition", result)
        for result in results
    )
    print(" ".join(f"{getattr(kind, 'value', kind)}={number}" for kind, number in reported.items()), flush=True)


async def series(store: DurableWalletStore, name: str) -> None:
    number = 0
    while True:
        claimed = await store.claim(claim_of(f"{name}-{number}"), soon())
        print(f"claimed {name}-{number} {claimed.operation_id}", flush=True)
        await store.record_outcome(outcome_of(claimed.operation_id, transaction_id=f"tx-{name}-{number}"), soon())
        print(f"recorded {name}-{number} {claimed.operation_id}", flush=True)
        number += 1


async def main() -> None:
    place, mode, argument = sys.argv[1:]
    store = DurableWalletStore(open_place(place), same_move=same_move)
    await store.start()
    await (same(store, int(argument)) if mode == "same" else series(store, argument))
    await store.stop()


if __name__ == "__main__":
    asyncio.run(main())
