"""`phoenix-gateway events send`: sends a file of events to a running gateway. It can be interrupted and resumed.

events_lines reads the lines, events_progress records how far they are sent, events_stream sends them.
Source: API.md, "Running it".
"""

from __future__ import annotations

import signal
import stat
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from gateway.cli.options import CA_FILE, CERT_FILE, JSON, KEY_FILE, TARGET

if TYPE_CHECKING:
    from gateway.cli.events_progress import Journal
    from gateway.cli.events_stream import EventSending

events_app = typer.Typer(help="Send events through a running gateway.", no_args_is_help=True, rich_markup_mode=None)
UNFINISHED, WRONG_OPTIONS, SOME_FAILED = 1, 2, 3
STDIN = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class SendOptions:
    """The options of one run of `events send`."""

    file: str
    tenant_id: str
    durable: bool
    rate: float | None
    label: str
    patience_s: float
    resend_unknown: bool
    progress: Path | None
    failed: Path | None


@events_app.command("send")
def send(
    file: Annotated[str, typer.Argument(help="One JSON object per line; - is standard input.", metavar="FILE.jsonl|-")],
    target: Annotated[str, TARGET] = "127.0.0.1:50051",
    tenant: Annotated[str, typer.Option("--tenant", help="Tenant; empty: the lines' own, or the only one.")] = "",
    durable: Annotated[
        bool, typer.Option("--durable", help="Finish when the gateway's store has the events; it delivers them later.")
    ] = False,
    rate: Annotated[float | None, typer.Option(help="At most this many events per second.", min=0.1)] = None,
    label: Annotated[
        str,
        typer.Option(help="Part of the ids of lines without one. Another label sends the same lines as new events."),
    ] = "",
    patience: Annotated[float, typer.Option(help="Give up after this many seconds without progress.", min=0)] = 300.0,
    resend_unknown: Annotated[
        bool, typer.Option(help="Send lines of unknown outcome again. Only if Phoenix deduplicates.")
    ] = False,
    progress: Annotated[
        Path | None, typer.Option(help="File that records what was sent. Default: FILE.progress.", metavar="FILE")
    ] = None,
    failed: Annotated[
        Path | None, typer.Option(help="File for failed lines. Default: FILE.failed.jsonl.", metavar="FILE")
    ] = None,
    ca_file: Annotated[Path | None, CA_FILE] = None,
    cert_file: Annotated[Path | None, CERT_FILE] = None,
    key_file: Annotated[Path | None, KEY_FILE] = None,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Send a file of events. Run the same command again to resume.

    A line has leaderboard_id, user_id, score_delta or event_type or both, and may have event_id, metadata, occur_time,
    attributes, tenant_id. A line without an event_id gets one that depends on its number and text.

    Ctrl-C once waits for what is in progress; twice ends at once. FILE.progress records what was sent: the same command
    resumes there, and does nothing when all is sent. You can append lines to the file in between. A line whose answer
    was lost is sent again under its id only if it cannot count twice: with --durable for 23 h, otherwise while the same
    gateway process runs. Else it fails as OUTCOME_UNKNOWN.

    Standard input cannot be resumed, because no progress is recorded. If you send the same lines again, only their ids
    prevent a double count. The gateway remembers ids for 24 h: certainly with --durable, otherwise best effort.

    Exit code 0: all sent; 1: not finished, run it again; 2: wrong options or files; 3: finished, some lines failed.
    """
    options = SendOptions(
        file=file,
        tenant_id=tenant,
        durable=durable,
        rate=rate,
        label=label,
        patience_s=patience,
        resend_unknown=resend_unknown,
        progress=progress,
        failed=failed,
    )
    raise typer.Exit(run(options, target, (ca_file, cert_file, key_file), as_json=as_json))


def run(options: SendOptions, target: str, tls: tuple[Path | None, Path | None, Path | None], *, as_json: bool) -> int:
    """Send, print the summary, return the exit code."""
    from gateway.cli.connect import open_channel
    from gateway.cli.events_progress import ProgressRefused
    from gateway.cli.options import WrongOptions
    from gateway.core.plain_text import plain

    if options.file == STDIN and options.progress is not None:
        print("--progress: standard input cannot be resumed; give a file", file=sys.stderr)
        return WRONG_OPTIONS
    with ExitStack() as stack:
        try:
            channel = stack.enter_context(open_channel(target, *tls))
            source, path = _open(options, stack)
            journal = _journal(options, path)
        except WrongOptions as error:
            print(error, file=sys.stderr)
            return WRONG_OPTIONS
        except ProgressRefused as refused:
            print(plain(f"{options.file}: {refused}"), file=sys.stderr)
            return WRONG_OPTIONS
        except OSError as error:
            print(plain(f"{error.filename}: {error.strerror}; check the path and its owner"), file=sys.stderr)
            return WRONG_OPTIONS
        stack.callback(journal.close)
        return _send(options, target, channel, source, path, journal, as_json=as_json)


def _send(
    options: SendOptions,
    target: str,
    channel: Any,
    source: BinaryIO,
    path: Path | None,
    journal: Journal,
    *,
    as_json: bool,
) -> int:
    from gateway.cli.events_lines import read_lines
    from gateway.cli.events_pace import Pace
    from gateway.cli.events_report import FailedLines, bar, print_table, summary
    from gateway.cli.events_stream import EventSending, Halted, StreamOptions

    failed = FailedLines(options.failed or _beside(path, "failed.jsonl"), goes_on=journal.is_resumed)
    earlier = journal.counts.ended
    began_at = time.monotonic()
    halted = ""
    is_complete = journal.is_complete
    if not is_complete:
        total_bytes = None if path is None else path.stat().st_size
        with bar(source, total_bytes, journal.counts) as show:
            sending = EventSending(
                channel,
                read_lines(source, options.tenant_id, options.label),
                journal,
                StreamOptions(
                    durable=options.durable, resend_unknown=options.resend_unknown, patience_s=options.patience_s
                ),
                Pace(options.rate),
                failed.add,
                show,
            )
            try:
                with _Signals(sending):
                    sending.run()
            except Halted as halt:
                halted = str(halt)
            except KeyboardInterrupt:
                halted = "interrupted twice"
            except OSError as error:
                halted = f"{error.filename or options.file}: {error.strerror}"
            finally:
                failed.close()
        is_complete = sending.is_complete
        if is_complete:
            journal.complete()
        elif not halted:
            halted = "interrupted"
    report = summary(
        counts=journal.counts,
        earlier=earlier,
        is_complete=is_complete,
        took_s=time.monotonic() - began_at,
        halted=halted,
        failed=failed.path,
        progress=None if path is None else _progress(options, path),
    )
    if as_json:
        from gateway.core.plain_text import json_page

        print(json_page(report))
    else:
        print_table(report, options.file)
    _say(options, target, report, path, is_new=journal.counts.ended > earlier)
    return UNFINISHED if not is_complete else SOME_FAILED if journal.counts.failed else 0


def _say(options: SendOptions, target: str, report: dict[str, Any], path: Path | None, *, is_new: bool) -> None:
    """Print on standard error what to do next, if anything."""
    from gateway.core.plain_text import plain

    if report["failed"]:
        print(plain(f"Failed lines and why: {report['failed_file']}"), file=sys.stderr)
    if report["duplicate"] and not report["in_earlier_runs"]:
        print(
            "Duplicates: the gateway already has events with these ids. If equal lines are new events, give a --label.",
            file=sys.stderr,
        )
    if not report["complete"]:
        print(plain(f"{target}: {report['stopped_because']}"), file=sys.stderr)
        if path is not None:
            print("Not finished. Run the same command again to resume.", file=sys.stderr)
        else:
            print(
                "Not finished, and standard input cannot be resumed. If you send the same lines again, they are "
                "duplicates while the gateway remembers their ids.",
                file=sys.stderr,
            )
    elif not is_new and report["in_earlier_runs"]:
        again = f"give a --label and remove {report['progress_file']}"
        print(plain(f"All lines were sent before. To count them again, {again}."), file=sys.stderr)


def _open(options: SendOptions, stack: ExitStack) -> tuple[BinaryIO, Path | None]:
    """Return the source, and its path if it is a regular file. Raises: OSError."""
    if options.file == STDIN:
        return sys.stdin.buffer, None
    path = Path(options.file)
    source = stack.enter_context(path.open("rb"))
    return source, path if stat.S_ISREG(path.stat().st_mode) else None


def _journal(options: SendOptions, path: Path | None) -> Journal:
    from gateway.cli.events_progress import Journal, Terms

    if path is None:
        return Journal()
    terms = Terms(tenant_id=options.tenant_id, label=options.label, durable=options.durable)
    return Journal.open(_progress(options, path), path, terms)


def _progress(options: SendOptions, path: Path) -> Path:
    return options.progress or _beside(path, "progress")


def _beside(path: Path | None, ending: str) -> Path:
    return Path(f"events.{ending}") if path is None else path.with_name(f"{path.name}.{ending}")


class _Signals:
    """The first SIGINT or SIGTERM stops after the answers that are due, the second at once."""

    def __init__(self, sending: EventSending) -> None:
        self._sending = sending
        self._before: dict[int, Any] = {}
        self._heard = False

    def __enter__(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._hear)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _hear(self, _number: int, _frame: object) -> None:
        if self._heard:
            raise KeyboardInterrupt
        self._heard = True
        print("Waiting for answers that are due; press Ctrl-C again to end at once.", file=sys.stderr)
        self._sending.stop()
