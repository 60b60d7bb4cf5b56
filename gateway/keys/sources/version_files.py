"""Find the files with the versions of a secret, and the activation time in each file's name.

`NAME_FILE` names a file, which is then the only version, or a folder with one file for each version. The name of a file
in a folder is its activation time (UTC): `2026-11-21T10:00Z.pem`, or `20261121T100000Z` where a name cannot contain a
colon (Kubernetes). Hidden files and unfinished files (`.tmp`, `~`) are skipped, so that a mounted Kubernetes secret can
be such a folder.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

MAX_FILES = 1000
"""A folder with more files is not a folder of versions; the rest is ignored."""

_NAME = re.compile(
    r"([0-9]{4})-?([0-9]{2})-?([0-9]{2})T([0-9]{2})[:-]?([0-9]{2})(?:[:-]?([0-9]{2}))?Z(?:\.[A-Za-z0-9._-]{0,64})?"
)
_UNNAMED = "its name is not a time; rename it to its activation time, such as 2026-11-21T10:00Z.pem"


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionFile:
    """A file that may contain a version. `named_at`: the time in its name, Unix seconds; None outside a folder."""

    path: Path
    name: str = ""
    named_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionFiles:
    """The files found, oldest first, and the faults of the others, by name."""

    files: tuple[VersionFile, ...]
    faults: tuple[tuple[str, str], ...] = ()


def find_versions(path: Path) -> VersionFiles:
    """Find the versions for the path in `NAME_FILE`. A path that is not a folder is one version, even if missing.

    Raises: OSError if the folder cannot be read.
    """
    if not path.is_dir():
        return VersionFiles(files=(VersionFile(path=path),))
    files: list[VersionFile] = []
    faults: list[tuple[str, str]] = []
    for name in sorted(os.listdir(path))[:MAX_FILES]:
        if name.startswith(".") or name.endswith((".tmp", "~")):
            continue
        named_at = time_in_name(name)
        if named_at is None:
            faults.append((_shown(name), _UNNAMED))
        else:
            files.append(VersionFile(path=path / name, name=name, named_at=named_at))
    return VersionFiles(
        files=tuple(sorted(files, key=lambda file: (file.named_at or 0.0, file.name))), faults=tuple(faults)
    )


def time_in_name(name: str) -> float | None:
    """Return the time in a file's name (Unix seconds), or None."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(part or 0) for part in match.groups())
    try:
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp()
    except ValueError:
        return None


def name_for(at: float, suffix: str) -> str:
    """Return the name of a version with this activation time (Unix seconds)."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") + suffix


def _shown(name: str) -> str:
    """Return a name as safe printable text: anyone who may write to the folder chooses it."""
    return ascii(name)[1:-1][:80]
