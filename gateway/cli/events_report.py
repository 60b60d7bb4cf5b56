"""What a run of `events send` shows: a bar while it lasts, a file of failed lines, a summary at the end."""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO, Protocol

from gateway.cli.events_progress import Counts
from gateway.core.plain_text import cell

if TYPE_CHECKING:
    from gateway.cli.events_stream import Failure

SHOW_EVERY_S = 0.1


class FailedLines:
    """The file of failed lines and their reasons. The first failed line creates it."""

    def __init__(self, path: Path, *, goes_on: bool) -> None:
        """Args: `goes_on`: append to the file of an earlier run."""
        self.path = path
        self._mode = "a" if goes_on else "w"
        self._sink: IO[str] | None = None

    def add(self, failure: Failure) -> None:
        """Write one line: number, event id, reason, message, and the line itself."""
        if self._sink is None:
            self._sink = self.path.open(self._mode, encoding="utf-8")
            self._mode = "a"
        members: dict[str, Any] = {
            "line": failure.number,
            "event_id": failure.event_id,
            "reason": failure.reason,
            "message": failure.message,
        }
        try:
            members["text"] = failure.raw.decode("utf-8")
        except UnicodeDecodeError:
            members["base64"] = base64.b64encode(failure.raw).decode()
        self._sink.write(json.dumps(members, ensure_ascii=False) + "\n")
        self._sink.flush()

    def close(self) -> None:
        """Sync the file to disk and close it."""
        if self._sink is not None:
            os.fsync(self._sink.fileno())
            self._sink.close()
            self._sink = None


class Shows(Protocol):
    """Shows progress when it is called."""

    def __call__(self) -> None: ...


@contextmanager
def bar(source: BinaryIO, total_bytes: int | None, counts: Counts) -> Iterator[Shows]:
    """Yield a function that draws the bar on standard error if that is a terminal. It is cheap to call often.

    Args: `total_bytes`: of the source; None if unknown.
    """
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda: None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("events", total=total_bytes)
        shown_at = began_at = time.monotonic()
        before = counts.ended

        def show() -> None:
            nonlocal shown_at
            now = time.monotonic()
            if now - shown_at < SHOW_EVERY_S:
                return
            shown_at = now
            failed = counts.failed.total()
            rate = f"{counts.ended:,} events, {(counts.ended - before) / (now - began_at):,.0f}/s"
            progress.update(
                task,
                description=f"{rate}, {failed:,} failed" if failed else rate,
                completed=source.tell() if total_bytes is not None else 0,
            )

        yield show


def summary(
    *, counts: Counts, earlier: int, is_complete: bool, took_s: float, halted: str, failed: Path, progress: Path | None
) -> dict[str, Any]:
    """Return the summary for machines. Args: `counts` over all runs; `earlier`: lines that earlier runs ended."""
    now_ended = counts.ended - earlier
    return {
        "complete": is_complete,
        "accepted": counts.accepted,
        "queued": counts.queued,
        "duplicate": counts.duplicate,
        "failed": counts.failed.total(),
        "failed_by_reason": dict(sorted(counts.failed.items())),
        "in_earlier_runs": earlier,
        "seconds": round(took_s, 3),
        "events_per_second": round(now_ended / took_s, 1) if took_s > 0 else 0.0,
        "failed_file": str(failed) if counts.failed else None,
        "progress_file": None if progress is None else str(progress),
        "stopped_because": halted or None,
    }


def print_table(report: dict[str, Any], name: str) -> None:
    """Print the summary for people."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=cell(name), show_header=False)
    table.add_column("what")
    table.add_column("count", justify="right")
    for label in ("accepted", "queued", "duplicate", "failed"):
        table.add_row(label, f"{report[label]:,}")
    for reason, count in report["failed_by_reason"].items():
        table.add_row(cell(f"  {reason}"), f"{count:,}")
    if report["in_earlier_runs"]:
        table.add_row("of these in earlier runs", f"{report['in_earlier_runs']:,}")
    table.add_row("seconds", f"{report['seconds']:,.1f}")
    table.add_row("events a second", f"{report['events_per_second']:,.0f}")
    Console().print(table)
