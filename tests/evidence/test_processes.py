"""Several gateway processes on one database: one winner, nothing acknowledged is ever lost."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from gateway.core.types import Environment
from gateway.core.wallet_verdict import Disposition
from tests.evidence.conftest import MakeStore
from tests.evidence.wallet_factory import OPERATOR, claim_of, soon

ROOT = Path(__file__).parents[2]
PROCESSES = 4


def start(place: str, mode: str, argument: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.evidence.claiming_process", place, mode, argument],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


async def test_500_identical_claims_over_4_processes(place: str) -> None:
    """Four processes that start on an empty database and claim one key 500 times at once: one NEW, no error."""
    processes = [start(place, "same", "125") for _ in range(PROCESSES)]
    try:
        assert [line_of(process) for process in processes] == ["ready"] * PROCESSES
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        reported: Counter[str] = Counter()
        for process in processes:
            for part in line_of(process).split():
                kind, _, number = part.partition("=")
                reported[kind] += int(number)
        assert reported == {"NEW": 1, "IN_PROGRESS": 499}
        assert [process.wait(20) for process in processes] == [0] * PROCESSES
    finally:
        for process in processes:
            process.kill()
            process.communicate()


@pytest.mark.parametrize("lines", [1, 2, 7, 60, 61])
async def test_killed_between_acknowledgements(place: str, make_store: MakeStore, lines: int) -> None:
    """Two processes are killed with -9 at various points: each acknowledged claim and outcome is stored once."""
    processes = [start(place, "series", name) for name in ("a", "b")]
    reported: list[str] = []
    try:
        for process in processes:
            reported += [line_of(process) for _ in range(lines)]
    finally:
        for process in processes:
            process.kill()
            rest, _ = process.communicate()
            # A truncated line in the pipe is not an acknowledgement.
            reported += [line for line in rest.splitlines() if len(line.split()) == 3 and len(line.split()[2]) == 36]
    store = await make_store()
    for line in reported:
        what, key, operation_id = line.split()
        evidence = await store.evidence_by_key(OPERATOR, Environment.PROD, "reserve_cash", key, soon())
        assert evidence.operation_id == operation_id
        if what == "recorded":
            assert evidence.operator_transaction_id == f"tx-{key}"
            assert (await store.claim(claim_of(key), soon())).disposition is Disposition.REPLAY
    assert len(reported) >= 2 * lines


async def test_two_processes_write_one_database(place: str, make_store: MakeStore) -> None:
    """Processes that write at the same time each get on, and so does a third store beside them."""
    processes = [start(place, "series", name) for name in ("a", "b")]
    try:
        store = await make_store()
        for number in range(30):
            assert (await store.claim(claim_of(f"c-{number}"), soon())).disposition is Disposition.NEW
            for process in processes:
                assert line_of(process).startswith(("claimed", "recorded"))
    finally:
        for process in processes:
            process.kill()
            process.communicate()
