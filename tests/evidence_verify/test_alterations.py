"""Whatever is altered in an export is found."""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.core.ed25519 import generate_signing_key
from gateway.evidence_verify import export_file
from gateway.evidence_verify.command import run
from gateway.evidence_verify.findings import UnusableInput
from gateway.evidence_verify.verification import verify_export
from tests.evidence.chain.chain_setup import GATEWAY_KEY, codes, verdict
from tests.evidence_verify import tampering
from tests.evidence_verify.conftest import Exported
from tests.evidence_verify.tampering import ALTERATIONS, Lines, read_lines


def test_an_unchanged_export_is_proven(small: Exported) -> None:
    """With its head nothing is left open."""
    reported = verdict(small.path, small.head)
    assert ("proven", [], 240) == (reported["verdict"], reported["not_proven"], reported["records"])
    assert ("proven", 12) == (reported["verdict"], reported["blocks"])


def test_without_a_head_the_end_is_not_proven(small: Exported) -> None:
    """The open points are the end and the unconfirmed key. With the key given, only the end is open."""
    reported = " ".join(verdict(small.path)["not_proven"])  # type: ignore[arg-type]
    assert "no later records are missing" in reported
    assert "belongs to the gateway" in reported
    reported = " ".join(verdict(small.path, key_pems=[GATEWAY_KEY.public.spki_pem])["not_proven"])  # type: ignore[arg-type]
    assert "no later records are missing" in reported
    assert "is the gateway's" not in reported


@pytest.mark.parametrize("number", range(10))
def test_every_alteration_is_found(small: Exported, tmp_path: Path, number: int) -> None:
    """Values, bits, members, records, order, blocks, keys, the file's end: even without a head from elsewhere."""
    rng = random.Random(number)
    for alteration in ALTERATIONS:
        found_is(small, tmp_path, alteration, rng)


@pytest.mark.faults
@pytest.mark.timeout(900)  # 192 times 10,000 records
def test_every_alteration_of_10_000_records_is_found(large: Exported, tmp_path: Path) -> None:
    """The same with as many records as the issue names."""
    reported = verdict(large.path, large.head)
    assert ("proven", 10_000) == (reported["verdict"], reported["records"])
    rng = random.Random(7)
    for _ in range(12):
        for alteration in ALTERATIONS:
            found_is(large, tmp_path, alteration, rng)


def found_is(exported: Exported, folder: Path, alteration: tampering.Alteration, rng: random.Random) -> None:
    """Alter a copy and see that it is found."""
    lines = read_lines(exported.text)
    what = alteration(lines, rng)
    assert b"".join(lines) != exported.text, what
    assert told_of(lines, folder), f"{alteration.__name__}: {what}"


def told_of(lines: Lines, folder: Path, head: bytes | None = None) -> set[str]:
    """Return the findings for a changed copy. An unusable input counts as found."""
    path = folder / "altered.jsonl"
    path.write_bytes(b"".join(lines))
    try:
        return codes(path, head)
    except UnusableInput:
        return {"unusable"}


@pytest.mark.parametrize("number", range(8))
def test_a_chain_rebuilt_with_another_key_is_found_by_the_head(small: Exported, tmp_path: Path, number: int) -> None:
    """The export is consistent. Only a head, the log or a public key that was stored elsewhere shows the change."""
    lines = read_lines(small.text)
    tampering.rebuild_chain(lines, random.Random(number), generate_signing_key()[0])
    path = tmp_path / "altered.jsonl"
    path.write_bytes(b"".join(lines))
    assert set() == codes(path)
    assert "belongs to the gateway" in " ".join(verdict(path)["not_proven"])  # type: ignore[arg-type]
    assert "head_differs" in codes(path, small.head)
    assert {"block_not_signed"} == codes(path, key_pems=[GATEWAY_KEY.public.spki_pem])


@pytest.mark.parametrize("number", range(8))
def test_an_end_that_was_cut_off_is_found_by_the_head(small: Exported, tmp_path: Path, number: int) -> None:
    """The rest is genuine and claims to be complete."""
    lines = read_lines(small.text)
    tampering.cut_end(lines, random.Random(number))
    assert set() == told_of(lines, tmp_path)
    assert {"cut_off"} == told_of(lines, tmp_path, small.head)


def test_an_older_head_proves_up_to_itself(small: Exported, tmp_path: Path) -> None:
    """Later blocks are trusted by the key that the head names. The rest is an open point."""
    block = json.loads(read_lines(small.text)[tampering.block_places(read_lines(small.text))[4]])["chain_block"]
    line = {
        "event": "evidence head",
        "operator": "acme",
        "environment": "prod",
        "block": int(block["number"]),
        "block_hash": block["hash"],
        "key_id": block["key_id"],
    }
    reported = verdict(small.path, json.dumps(line).encode() + b"\n")
    assert "proven" == reported["verdict"]
    assert ["that nothing is missing after block 5: the stored head is older than the export"] == reported["not_proven"]
    line["block_hash"] = "f" * 64
    assert {"head_differs"} == codes(small.path, json.dumps(line).encode())


@pytest.mark.parametrize(
    "head",
    [b"", b"{}", b"nothing", b'{"heads":[],"keys":[]}', b'{"heads":[{}],"keys":[]}', b"[1]", b'{"heads":7}'],
)
def test_a_head_that_is_none_is_refused(small: Exported, head: bytes) -> None:
    """As an input that cannot be used, not as a proof."""
    with pytest.raises(UnusableInput):
        verify_export(small.path, heads=[head], processes=1)


def test_a_published_head_that_was_altered_is_refused(small: Exported) -> None:
    """Its signature does not verify."""
    for before, after in ((b'"number": "12"', b'"number": "13"'), (b'"entry_count": ', b'"entry_count": 1')):
        assert before in small.head
        with pytest.raises(UnusableInput, match="--head"):
            verify_export(small.path, heads=[small.head.replace(before, after)], processes=1)


def test_the_head_of_another_chain_is_refused(small: Exported) -> None:
    """It proves nothing about this chain."""
    line = b'{"event":"evidence head","operator":"acme","environment":"sandbox","block":1,"block_hash":"","key_id":""}'
    with pytest.raises(UnusableInput, match="has no head of acme in prod"):
        verify_export(small.path, heads=[line], processes=1)


def test_several_processes_tell_the_same(small: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In parts of a few records each, whatever the cuts fall on; lines are counted over all of them."""
    monkeypatch.setattr(export_file, "PART_BYTES", 20_000)
    assert [] == verify_export(small.path, heads=[small.head], processes=2).findings.kept
    lines = read_lines(small.text)
    place = tampering.record_places(lines)[200]
    lines[place] = lines[place].replace(b"player-1", b"player-2")
    (tmp_path / "altered").write_bytes(b"".join(lines))
    findings = verify_export(tmp_path / "altered", processes=2).findings.kept
    assert {place + 1} == {finding.line for finding in findings}
    assert findings == verify_export(tmp_path / "altered", processes=1).findings.kept


@pytest.mark.parametrize(
    "text", [b"", b"\n", b"{}\n", b'{"operation_id":"x"}\n', b'{"chain_extent":{}}\n', b"\xff\x00"]
)
def test_what_is_no_export_is_unusable(tmp_path: Path, text: bytes) -> None:
    """Never a proof of nothing."""
    path = tmp_path / "export"
    path.write_bytes(text)
    with pytest.raises(UnusableInput):
        verify_export(path, processes=1)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (lambda text: text + b"\n", "blank lines"),
        (lambda text: text.replace(b"\n", b"\r\n"), "line ends are CR LF"),
        (lambda text: b"\xef\xbb\xbf" + text, "a byte order mark at the beginning"),
        (lambda text: text.replace(b"\n", b"\n\n"), "blank lines"),
        (lambda text: text.replace(b"\n", b"\r\n") + b"\r\n", "line ends are CR LF; blank lines"),
        (lambda text: text[:-1], "no line end after the last line"),
        (lambda text: text.replace(b"\n", b"\r"), "line ends are CR"),
        (lambda text: text.replace(b"\n", b"\r\r\n"), "line ends are CR LF; blank lines"),
        (lambda text: text.replace(b"\n", b"\r\r"), "line ends are CR; blank lines"),
        (lambda text: text + b"  \n", "blanks around lines"),
        (lambda text: text.replace(b"\n", b" \n", 3), "blanks around lines"),
        (lambda text: text.replace(b"\n", b"\n\t", 3), "blanks around lines"),
        (lambda text: text.replace(b"\n", b" \r\n"), "line ends are CR LF; blanks around lines"),
        (lambda text: text + b"\t", "blanks around lines; no line end after the last line"),
        (lambda text: text.decode().encode("utf-16"), "UTF-16 in place of UTF-8"),
        (
            lambda text: b"\xfe\xff" + text.replace(b"\n", b"\r\n").decode().encode("utf-16-be"),
            "UTF-16 in place of UTF-8",
        ),
    ],
    ids=[
        *(
            "blank line",
            "CRLF",
            "BOM",
            "blank lines",
            "CRLF and blank line",
            "no last line end",
            "CR",
            "CRCRLF",
            "CRCR",
        ),
        *("blank line with blanks", "blanks at ends", "blanks before", "blanks and CRLF", "blank at the end"),
        *("UTF-16", "UTF-16 BE"),
    ],
)
def test_changed_line_ends_are_no_tampering(
    small: Exported, tmp_path: Path, changed: Callable[[bytes], bytes], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A copy or a mail does that: the lines are proven, and the output says what was changed."""
    path, head = tmp_path / "export.jsonl", tmp_path / "head"
    path.write_bytes(changed(small.text))
    head.write_bytes(small.head)
    assert 0 == run(path, [head], processes=1)
    out = capsys.readouterr().out
    assert ("Proven:" in out, f"no tampering): {said}" in out) == (True, True)
    path.write_bytes(changed(small.text.replace(b"player-1", b"player-2", 1)))
    assert 1 == run(path, [head], processes=1)
    assert "TAMPERED WITH" in capsys.readouterr().out


def test_what_is_no_utf_16_is_unusable(small: Exported, tmp_path: Path) -> None:
    """It says so, and leaves no copy behind."""
    path = tmp_path / "export.jsonl"
    path.write_bytes(b"\xff\xfe" + small.text + b"\x00\xd8")
    before = set(Path(tempfile.gettempdir()).glob("evidence-*"))
    with pytest.raises(UnusableInput, match="UTF-16"):
        verify_export(path, processes=1)
    assert before == set(Path(tempfile.gettempdir()).glob("evidence-*"))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_head_that_a_shell_encoded_is_read(small: Exported, tmp_path: Path, encoding: str) -> None:
    """As Windows writes the output of a command."""
    path, head = tmp_path / "export.jsonl", tmp_path / "head"
    path.write_bytes(small.text)
    head.write_bytes(small.head.decode().encode(encoding))
    assert 0 == run(path, [head], processes=1)


@pytest.mark.parametrize("as_json", [True, False], ids=["JSON", "text"])
@pytest.mark.parametrize("member", ["operation_id", "key_id", "operator_code"])
def test_nothing_of_an_export_reaches_a_terminal_raw(
    small: Exported, tmp_path: Path, member: str, capsys: pytest.CaptureFixture[str], *, as_json: bool
) -> None:
    """Whoever made the file chose every name in it, those of keys included."""
    hostile = "\\u001b]0;owned\\u0007\x9b31m\u202e".encode()
    path, head = tmp_path / "export.jsonl", tmp_path / "head"
    path.write_bytes(small.text.replace(f'"{member}":"'.encode(), f'"{member}":"'.encode() + hostile))
    head.write_bytes(small.head)
    for heads in ([], [head]):
        assert 0 != run(path, heads, processes=1, as_json=as_json)
        shown = capsys.readouterr()
        assert shown.out + shown.err != ""
        assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(shown.out + shown.err)
