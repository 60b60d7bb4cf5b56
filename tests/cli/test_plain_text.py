"""What a caller or Phoenix chose never reaches a terminal raw, nor a spreadsheet as a formula."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from gateway.core.plain_text import csv_cell, json_line, json_page, plain
from gateway.v1 import events_pb2, keys_pb2, leaderboards_pb2, wallet_pb2
from tests.deploy.document_lines import ROOT

HOSTILE = "=1+1;=2 [red]x[/red]\x1b]0;owned\x07\x1b[31m\x9b2J\u202e\r\n=cmd"
RAW = {"\x1b", "\x07", "\x9b", "\u202e", "\r"}


@pytest.mark.parametrize(
    "letter", [chr(code) for code in (*range(32), *range(127, 160), 0x202E, 0x2066, 0xFEFF, 0xD800)]
)
def test_no_control_survives(letter: str) -> None:
    """C0, DEL, C1, changes of direction and half characters, in text, JSON and CSV; JSON means the same."""
    text = f"a{letter}b"
    assert plain(text) == csv_cell(text) == "a\ufffdb"
    assert letter not in json_line([text])
    assert json.loads(json_page([text])) == json.loads(json_line([text])) == [text]


@pytest.mark.parametrize("text", ["ü ñ", "Ada\u00a0L", "\U0001f3c6", "100 %", "a=b", "a; b=1"])
def test_ordinary_text_is_unchanged(text: str) -> None:
    """Letters of any script, wide spaces and signs within a text."""
    assert (plain(text), csv_cell(text), json.loads(json_line(text))) == (text, text, text)


@pytest.mark.parametrize("text", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", " =1", "\uff1d1", "-", "%0", "|x"])
def test_no_cell_begins_a_formula(text: str) -> None:
    """Also behind blanks and in full width."""
    assert csv_cell(text).startswith("'")


@pytest.mark.parametrize("text", ["a;=1+1", "a; @SUM(A1)", "a;\uff1d1", 'x";-2+3'])
def test_no_formula_begins_behind_a_semicolon(text: str) -> None:
    """Where the comma is the decimal sign, a spreadsheet divides a line there, whatever the quotes say."""
    written = io.StringIO()
    csv.writer(written).writerow(["first", csv_cell(text)])
    for part in written.getvalue().split(";"):
        assert part.strip()[:1] not in tuple("=+-@|%\uff1d")


@pytest.mark.parametrize("text", ["-5", "-12.50", "-12.50 EUR", "12.50", ""])
def test_amounts_keep_their_sign(text: str) -> None:
    """A number is no formula."""
    assert csv_cell(text) == text


def filled(message: Message, depth: int = 0) -> Any:
    """Write the hostile text into every text of a message."""
    for field in message.DESCRIPTOR.fields:
        if field.containing_oneof is not None and field.containing_oneof.fields[0] is not field:
            continue
        if field.name in ("next_page_token", "key_id") or field.full_name.startswith("google.protobuf.Struct"):
            continue
        repeated = field.is_repeated
        if field.type == FieldDescriptor.TYPE_STRING:
            value: Any = "12.50" if field.full_name.endswith("Money.amount") else HOSTILE
            getattr(message, field.name).append(value) if repeated else setattr(message, field.name, value)
        elif field.type == FieldDescriptor.TYPE_BYTES and not repeated:
            setattr(message, field.name, HOSTILE.encode())
        elif field.type == FieldDescriptor.TYPE_ENUM and not repeated:
            setattr(message, field.name, 1)
        elif field.type == FieldDescriptor.TYPE_MESSAGE and depth < 6:
            target = getattr(message, field.name)
            filled(target.add() if repeated else target, depth + 1)
    return message


SERVED = {
    "LeaderboardService/GetLeaderboard": leaderboards_pb2.GetLeaderboardResponse,
    "KeyService/ListKeys": keys_pb2.ListKeysResponse,
    "WalletService/ListUnreadableWebhooks": wallet_pb2.ListUnreadableWebhooksResponse,
}
STREAMED = {
    "LeaderboardService/WatchLeaderboard": leaderboards_pb2.WatchLeaderboardResponse,
    "WalletService/ExportWalletEvidence": wallet_pb2.ExportWalletEvidenceResponse,
}


class Hostile(grpc.GenericRpcHandler):
    """Answers the methods that commands call; refuses all others with hostile words."""

    def service(self, details: Any) -> Any:
        name = details.method.rpartition(".")[2]
        if name in SERVED:
            return grpc.unary_unary_rpc_method_handler(lambda _, __: filled(SERVED[name]()).SerializeToString())
        if name in STREAMED:
            return grpc.unary_stream_rpc_method_handler(lambda _, context: self.stream(name, context))
        return grpc.unary_unary_rpc_method_handler(self.refuse)

    def refuse(self, _: Any, context: Any) -> Any:
        context.abort(grpc.StatusCode.PERMISSION_DENIED, HOSTILE.replace("\r\n", " "))

    def stream(self, name: str, context: Any) -> Iterator[bytes]:
        yield filled(STREAMED[name]()).SerializeToString()
        while "Watch" in name and context.is_active():
            time.sleep(0.05)


@pytest.fixture(scope="module")
def target() -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(8), handlers=[Hostile()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None)


def started(*arguments: str) -> subprocess.Popen[bytes]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.Popen(
        [sys.executable, "-m", "gateway", *arguments],
        env={**kept, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def ended(process: subprocess.Popen[bytes]) -> tuple[str, str]:
    """What it printed, byte for byte: text mode would turn CR into LF."""
    try:
        out, err = process.communicate(timeout=50)
    finally:
        process.kill()
    return out.decode("utf-8"), err.decode("utf-8")


@pytest.mark.parametrize(
    "arguments",
    [
        ("top", "b"),
        ("top", "b", "--json"),
        ("watch", "b", "--count", "1"),
        ("watch", "b", "--count", "1", "--json"),
        ("keys", "list"),
        ("keys", "list", "--json"),
        ("keys", "revoke", "0" * 64),
        ("evidence", "report"),
        ("evidence", "report", "--json"),
        ("evidence", "list", "--unreadable"),
        ("evidence", "list", "--unreadable", "--json"),
        ("evidence", "export", "--format", "csv"),
        ("call", "LeaderboardService/GetLeaderboard", '{"leaderboard_id": "b"}'),
        ("call", "--json", "LeaderboardService/GetLeaderboard", '{"leaderboard_id": "b"}'),
        ("call", "EventService/SubmitEvent", "{}"),
    ],
    ids=" ".join,
)
def test_no_command_prints_what_came_raw(target: str, arguments: tuple[str, ...]) -> None:
    """Neither on standard output nor on standard error, and no markup is obeyed."""
    out, err = ended(started(*arguments, "--target", target))
    assert out + err != ""
    assert not RAW & set(out + err), repr(out + err)
    assert "Traceback" not in err
    if "csv" in arguments:
        cells = [cell for row in csv.reader(io.StringIO(out)) for cell in row]
        assert [cell for cell in cells if cell.startswith("'=1+1")]
        parts = [part for cell in cells for part in cell.split(";")]
        assert not [part for part in parts if part[:1] in ("=", "+", "@")]


def test_the_summary_of_events_send_is_plain(capsys: pytest.CaptureFixture[str]) -> None:
    """The name of the file and the reasons come from elsewhere."""
    from gateway.cli.events_report import print_table

    counts = dict.fromkeys(("accepted", "queued", "duplicate", "failed", "in_earlier_runs"), 1)
    print_table({**counts, "failed_by_reason": {HOSTILE: 1}, "seconds": 1.0, "events_per_second": 1.0}, HOSTILE)
    out = capsys.readouterr().out
    assert ("[red]" in out, RAW & set(out)) == (True, set())


def test_a_watch_ends_with_its_reader_on_a_quiet_board(target: str) -> None:
    """`watch BOARD --json | head -1`: nothing more is written, and the command still ends."""
    process = started("watch", "b", "--json", "--target", target)
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b'{"')
        process.stdout.close()
        assert 0 == process.wait(timeout=10)
        assert process.stderr is not None
        assert b"" == process.stderr.read()
    finally:
        process.send_signal(signal.SIGKILL) if process.poll() is None else None


def test_events_need_no_struct_for_large_integers() -> None:
    """The command passes attributes on digit for digit, and takes no byte order mark for a part of the first line."""
    from gateway.cli.events_lines import Line, read_lines

    text = b'{"leaderboard_id":"b","user_id":"u","event_type":"t","attributes":{"id":9007199254740993}}'
    plain_line, marked = (
        next(read_lines(io.BytesIO(start + text + b"\n"), "", "")) for start in (b"", b"\xef\xbb\xbf")
    )
    assert isinstance(plain_line, Line)
    assert isinstance(marked, Line)
    assert b'{"id":9007199254740993}' == plain_line.event.attributes_json
    assert isinstance(plain_line.event, events_pb2.Event)
    assert plain_line == marked
    joined = list(read_lines(io.BytesIO(b"\xef\xbb\xbf" + text + b"\n\xef\xbb\xbf" + text), "", ""))
    assert [line.raw for line in joined] == [text, text]
    assert all(isinstance(line, Line) for line in joined)
