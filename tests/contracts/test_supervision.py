"""Every task and thread has an owner: `resilience/supervision.py`, a TaskGroup, or the reason that is given here.

A TaskGroup is for work that ends: it notices neither a task that returns nor one that is cancelled.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "gateway"
_BEGINS = re.compile(
    r"\bcreate_task\(|\bensure_future\(|\bThread\(|\bTimer\(|start_new_thread|PoolExecutor\(|run_in_executor\("
)
_OF_A_GROUP = re.compile(r"\bgroup\.create_task\(")

SUPERVISOR = "resilience/supervision.py"
REASONS = {
    "actions/events/submit_events.py": (1, "the caller's stream awaits it"),
    "cli/events_stream.py": (2, "a command: its end ends the call, and the process is the user's"),
    "cli/watch.py": (1, "a command: it only waits for the reader of standard output to leave"),
    "evidence_verify/verification.py": (1, "shares nothing; a broken pool raises in the command that waits for it"),
    "front/http2/acceptor.py": (1, "the acceptor has it until the handshake has ended, whichever way"),
    "front/http2/calls.py": (1, "the stream has it, cancels it and sends what it raises as the call's status"),
    "keys/sources/secret_store.py": (1, "the reader waits for its answer, with a bound, and starts no second one"),
    "server/secret_poll.py": (2, "the poll waits for each read, and ends its threads when it ends"),
    "resilience/single_flight.py": (1, "whoever joined the flight gets what it raises"),
    "sandbox/websocket.py": (1, "the sandbox shares nothing; the connection waits for its writer"),
    "server/shutdown.py": (1, "ends a process that fails to stop; it is the last owner there is"),
    "services/health.py": (1, "the watcher's call awaits it"),
    "services/ordered_acks.py": (1, "the caller's stream awaits it"),
    "store/postgres_upgrade.py": (
        1,
        "whoever needs the schema awaits the upgrade; indexes are built in a loop that tells",
    ),
    "store/upgrade_file.py": (1, "lives as long as its process, which has a time limit of its own"),
    "telemetry/tracing.py": (1, "the end of the process waits for it, with a bound"),
    "telemetry/log_pipe.py": (1, "a line that finds it ended starts it again; a metric counts the lines that are lost"),
    "streams/hub.py": (1, "the board hears of its link's end and ends its watchers"),
}
"""The number of tasks and threads that a file starts, and what detects their end."""


def test_every_task_and_thread_has_an_owner() -> None:
    """A task without an owner ends silently, and the process continues without it."""
    found: Counter[str] = Counter()
    for path in PACKAGE.rglob("*.py"):
        name = path.relative_to(PACKAGE).as_posix()
        if name == SUPERVISOR or name.startswith("v1/"):
            continue
        text = path.read_text()
        found[name] = len(_BEGINS.findall(text)) - len(_OF_A_GROUP.findall(text))
    unowned = {name: count for name, count in found.items() if count}
    assert {name: count for name, (count, _) in REASONS.items()} == unowned
