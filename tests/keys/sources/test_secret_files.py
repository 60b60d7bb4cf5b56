"""Secrets do not show themselves, and their files obey rules."""

from __future__ import annotations

import copy
import os
import pickle
from pathlib import Path

import pytest

from gateway.core.secret import Secret, SecretRefused
from gateway.keys.sources.secret_files import MAX_SECRET_FILE_BYTES, read_secret_file

TEXT = "hunter2-hunter2"


def test_no_way_of_printing_shows_it() -> None:
    """repr, str, format and what holds a secret hide it."""
    secret = Secret.from_text(TEXT)
    for shown in (repr(secret), str(secret), f"{secret}", f"{secret:>40}", f"{[secret]}"):
        assert TEXT not in shown


def test_it_is_neither_pickled_nor_copied() -> None:
    """What leaves the process, or doubles in it, is refused."""
    secret = Secret.from_text(TEXT)
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError) as caught:
            attempt(secret)
        assert TEXT not in str(caught.value)


def test_it_compares_by_value_and_has_no_hash() -> None:
    """Equal bytes are equal; nothing else is; it is no dictionary key."""
    assert Secret(b"a") == Secret(b"a")
    assert Secret(b"a") != Secret(b"b")
    assert Secret(b"a") != b"a"
    with pytest.raises(TypeError):
        hash(Secret(b"a"))


def test_one_line_end_is_taken_off() -> None:
    """The line end that an editor adds is no part of the secret; anything more is."""
    assert [Secret.from_text(text).reveal() for text in ("a", "a\n", "a\r\n", "a\n\n", " a")] == [
        b"a",
        b"a",
        b"a",
        b"a\n",
        b" a",
    ]


@pytest.mark.parametrize("text", ["", "\n", "\ud800"])
def test_nothing_and_no_text_are_refused(text: str) -> None:
    """Everybody could sign with an empty secret."""
    with pytest.raises(SecretRefused):
        Secret.from_text(text)


def secret_file(directory: Path, content: bytes, mode: int = 0o600) -> Path:
    path = directory / "secret"
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_a_private_file_is_read(tmp_path: Path) -> None:
    """A file of 0600 gives its content without the line end."""
    assert read_secret_file(secret_file(tmp_path, b"value\n"))[0] == Secret(b"value")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620, 0o777])
def test_a_file_open_to_others_is_refused_with_the_fix(tmp_path: Path, mode: int) -> None:
    """Any access by others is refused, and the text names chmod 600."""
    with pytest.raises(SecretRefused, match="chmod 600"):
        read_secret_file(secret_file(tmp_path, b"value", mode))


def test_missing_empty_large_and_special_files_are_refused(tmp_path: Path) -> None:
    """Each has its own text; a pipe does not hang the start."""
    with pytest.raises(SecretRefused, match="cannot be opened"):
        read_secret_file(tmp_path / "absent")
    with pytest.raises(SecretRefused, match="empty"):
        read_secret_file(secret_file(tmp_path, b"\n"))
    with pytest.raises(SecretRefused, match="larger"):
        read_secret_file(secret_file(tmp_path, b"x" * (MAX_SECRET_FILE_BYTES + 1)))
    os.mkfifo(tmp_path / "pipe", 0o600)
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(SecretRefused, match="regular file"):
            read_secret_file(path)
