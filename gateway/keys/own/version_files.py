"""Which files hold the versions of a secret, and from when each one says that it is to be used.

`NAME_FILE` names a file, which is then the only version, or a folder with a file for each version. A file there is
named by the time (UTC) from which it is to be used: `2026-11-21T10:00Z.pem`, or `20261121T100000Z` where a colon cannot
stand in a name (Kubernetes). Hidden files and those that are being written (`.tmp`, `~`) are passed over, so that a
mounted Kubernetes secret can be such a folder. What a file must hold is secret_files.py's and the keyring's business.
Source: issue 8, point 3.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

MAX_FILES = 1000
"""More in one folder are not versions of one secret."""

_NAME = re.compile(
    r"([0-9]{4})-?([0-9]{2})-?([0-9]{2})T([0-9]{2})[:-]?([0-9]{2})(?:[:-]?([0-9]{2}))?Z(?:\.[A-Za-z0-9._-]{0,64})?"
)
_UNNAMED = "its name is no time; name it by the time from which it is to be used, such as 2026-11-21T10:00Z.pem"


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionFile:
    """A file that may hold a version. `named_at`: Unix seconds, from its name; None for a file outside a folder."""

    path: Path
    name: str = ""
    named_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionFiles:
    """What was found, oldest first, and what is wrong with the rest, by name."""

    files: tuple[VersionFile, ...]
    faults: tuple[tuple[str, str], ...] = ()


def find_versions(path: Path) -> VersionFiles:
    """Look for the versions behind `NAME_FILE`. A path that is no folder is one version, there or not.

    Raises: OSError when the folder cannot be read.
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
    """Return the time (Unix seconds) that a file's name says; None when it says none."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(part or 0) for part in match.groups())
    try:
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp()
    except ValueError:
        return None


def name_for(at: float, suffix: str) -> str:
    """Return the name of a version that is to be used from this time (Unix seconds) on."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") + suffix


def _shown(name: str) -> str:
    """A name as a line of text: anybody who may write into the folder chose it."""
    return ascii(name)[1:-1][:80]
