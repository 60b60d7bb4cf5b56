"""Line ends of an export that a copy or a mail changed: undo that, and say what it was. It is no tampering.

An export writes LF after each line and nothing else. A line holds JSON, in which CR, LF and a byte order mark can only
be escapes, so raw ones between lines prove nothing about the lines.
"""

from __future__ import annotations

import mmap
import tempfile
from pathlib import Path
from typing import BinaryIO

_BOM = b"\xef\xbb\xbf"
_BLANK = b" \t\r\n"


def changes_of(map_: mmap.mmap) -> tuple[str, ...]:
    """Return what was changed, in words; empty for the line ends of an export."""
    said = []
    if map_[: len(_BOM)] == _BOM:
        said.append("a byte order mark at the beginning")
    if map_.find(b"\r\n") >= 0:
        said.append("line ends are CR LF")
    if map_.find(b"\n\n") >= 0 or map_.find(b"\n\r\n") >= 0 or map_[:1] in (b"\n", b"\r"):
        said.append("blank lines")
    if map_[-1:] != b"\n":
        said.append("no line end after the last line")
    return tuple(said)


def restored(source: BinaryIO) -> Path:
    """Write a copy with the line ends of an export, and return its path. The caller removes it. Raises: OSError."""
    source.seek(0)
    with tempfile.NamedTemporaryFile(prefix="evidence-", suffix=".jsonl", delete=False) as copy:
        for number, line in enumerate(source):
            kept = line.removeprefix(_BOM) if number == 0 else line
            kept = kept.rstrip(b"\r\n")
            if kept.strip(_BLANK):
                copy.write(kept + b"\n")
    return Path(copy.name)
