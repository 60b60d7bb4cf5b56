"""What a folder of versions may hold, and what the names say."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.keys.sources.version_files import find_versions, name_for, time_in_name

TEN = datetime(2026, 11, 21, 10, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("name", "at"),
    [
        ("2026-11-21T10:00Z.pem", TEN),
        ("2026-11-21T10:00:00Z", TEN),
        ("20261121T100000Z.pem", TEN),
        ("2026-11-21T10-00-30Z.key.pem", TEN + 30),
        ("2026-11-21T10:00", None),  # no time zone: the time is ambiguous
        ("2026-13-21T10:00Z", None),
        ("2026-02-30T10:00Z", None),
        ("launch_key.pem", None),
        ("2026-11-21T10:00Z.pem/../x", None),
        ("2026-11-21T10:00Z.p\nm", None),
        ("٢٠٢٦-11-21T10:00Z", None),
    ],
)
def test_the_time_in_a_name(name: str, at: float | None) -> None:
    """UTC, with or without the signs between; anything else is no time."""
    assert at == time_in_name(name)


def test_a_name_is_read_as_it_was_made() -> None:
    """`keys generate` names files so."""
    assert "2026-11-21T10:00:00Z.pem" == name_for(TEN, ".pem")
    assert TEN == time_in_name(name_for(TEN, ".pem"))


def test_a_folder_in_order_without_what_is_being_written(tmp_path: Path) -> None:
    """By time, not by name. Hidden and unfinished files are skipped, other names are reported without control codes."""
    for name in ("2026-11-21T10:00Z", "20261121T090000Z", ".2026-11-21T11:00Z", "..data", "a.tmp", "b~", "bad\x1bname"):
        (tmp_path / name).touch()
    found = find_versions(tmp_path)
    assert ["20261121T090000Z", "2026-11-21T10:00Z"] == [file.name for file in found.files]
    assert ["bad\\x1bname"] == [name for name, _ in found.faults]


def test_a_path_that_is_no_folder_is_one_version(tmp_path: Path) -> None:
    """The result of the read shows whether it exists."""
    assert [(tmp_path / "absent", None)] == [
        (one.path, one.named_at) for one in find_versions(tmp_path / "absent").files
    ]
