"""Line ends of an export that a copy or a mail changed: undo that, and say what it was. It is no tampering.

An export is UTF-8 and writes LF after each line and nothing else. A line holds JSON without blanks around it, in which
CR, LF and a byte order mark can only be escapes, so raw ones between lines prove nothing about the lines.
"""

from __future__ import annotations

import io
import mmap
import tempfile
from pathlib import Path
from typing import BinaryIO

from gateway.evidence_verify.findings import UnusableInput

_BOM = b"\xef\xbb\xbf"
_BLANK = " \t\r\n"
_BLANKS_AROUND = (b" \n", b"\t\n", b" \r", b"\t\r", b"\n ", b"\n\t", b"\r ", b"\r\t")


def changes_of(map_: mmap.mmap) -> tuple[str, ...]:
    """Return what was changed, in words; empty for the line ends of an export."""
    if _is_utf_16(map_[:2]):
        return ("UTF-16 in place of UTF-8",)
    said = []
    if map_[: len(_BOM)] == _BOM:
        said.append("a byte order mark at the beginning")
    has_cr = map_.find(b"\r") >= 0
    if has_cr:
        said.append("line ends are CR LF" if map_.find(b"\r\n") >= 0 else "line ends are CR")
    blank = (b"\n\n", b"\n\r", b"\r\r") if has_cr else (b"\n\n",)
    if any(map_.find(two) >= 0 for two in blank) or map_[:1] in (b"\n", b"\r"):
        said.append("blank lines")
    around = _BLANKS_AROUND if has_cr else [two for two in _BLANKS_AROUND if b"\n" in two]
    if any(map_.find(two) >= 0 for two in around) or {map_[:1], map_[-1:]} & {b" ", b"\t"}:
        said.append("blanks around lines")
    if map_[-1:] not in (b"\n", b"\r"):
        said.append("no line end after the last line")
    return tuple(said)


def restored(source: BinaryIO) -> Path:
    """Write a copy with the line ends of an export, and return its path. The caller removes it.

    Raises: OSError; UnusableInput for what calls itself UTF-16 and is not.
    """
    source.seek(0)
    encoding = "utf-16" if _is_utf_16(source.read(2)) else "utf-8-sig"
    source.seek(0)
    errors = "strict" if encoding == "utf-16" else "surrogateescape"
    lines = io.TextIOWrapper(source, encoding=encoding, errors=errors, newline=None)
    copy = tempfile.NamedTemporaryFile(prefix="evidence-", suffix=".jsonl", delete=False)  # noqa: SIM115 - outlives us
    try:
        with copy:
            for line in lines:
                if kept := line.strip(_BLANK):
                    copy.write(kept.encode("utf-8", "surrogateescape") + b"\n")
    except UnicodeError:
        Path(copy.name).unlink()
        raise UnusableInput("the export begins as UTF-16 does, and is not UTF-16") from None
    finally:
        lines.detach()
    return Path(copy.name)


def _is_utf_16(begin: bytes) -> bool:
    """As a shell on Windows writes it."""
    return begin in (b"\xff\xfe", b"\xfe\xff")
