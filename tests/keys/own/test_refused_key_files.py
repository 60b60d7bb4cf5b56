"""Files in folders of keys that cannot be used: none is taken, each is counted and shown in ListKeys."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gateway.core.ed25519 import generate_signing_key
from gateway.keys.descriptions import KeyKind
from gateway.keys.sources.version_files import name_for
from tests.config.valid_settings import rsa_pem
from tests.keys.own.folder_bench import LEAD_S, Bench, write


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Folders with one version each, an hour old by their names, and a keyring over them."""
    made = Bench(tmp_path)
    made.add_hmac(b"first\n", -7200)
    made.add_launch_key(-7200)
    made.begin()
    return made


@pytest.mark.parametrize(
    ("content", "mode", "reported"),
    [
        (b"-----BEGIN PRIVATE KEY-----\nMC4CAQ", 0o600, "exactly one PEM block"),
        (b"", 0o600, "empty"),
        (b"x" * 70_000, 0o600, "larger than"),
        (None, 0o640, "chmod 600"),
        (b"-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----\n", 0o600, "private key (PKCS"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_and_reported(
    bench: Bench, content: bytes | None, mode: int, reported: str
) -> None:
    """Incomplete, empty, too large, readable by others, of another type: counted once, shown in ListKeys."""
    first = bench.launch_now()
    write(
        bench.launch / name_for(bench.clock.now(), ".pem"),
        generate_signing_key()[1] if content is None else content,
        mode,
    )
    bench.look_for(LEAD_S + 1)
    bench.look_for(1)
    assert (first, {first}, {"secret_file_refused": 1}) == (bench.launch_now(), bench.published(), bench.events)
    (row,) = bench.rows(KeyKind.OPERATOR)
    assert reported in row.note


def test_what_is_no_private_file_of_ours_is_refused(bench: Bench, tmp_path: Path) -> None:
    """A pipe, a folder, an RSA key, another user's file, a link to nowhere: none is used, none holds us up."""
    first, at = bench.launch_now(), bench.clock.now()
    os.mkfifo(bench.launch / name_for(at, ".pipe"), 0o600)
    (bench.launch / name_for(at, ".folder")).mkdir(mode=0o700)
    write(bench.launch / name_for(at, ".rsa"), rsa_pem().encode())
    (bench.launch / name_for(at, ".link")).symlink_to(tmp_path / "nowhere")
    refused = 3
    if os.geteuid() == 0:
        os.chown(write(bench.launch / name_for(at, ".other"), generate_signing_key()[1]), 65534, 65534)
        refused += 1
    bench.look_for(LEAD_S + 1)
    bench.look_for(LEAD_S + 1)
    assert (first, {first}, {"secret_file_refused": refused}) == (bench.launch_now(), bench.published(), bench.events)
    (row,) = bench.rows(KeyKind.OPERATOR)
    assert (2, 1) == (row.note.count("not a regular file"), row.note.count("not an Ed25519 key"))
    assert refused - 3 == row.note.count("belongs to another user")


def test_a_file_that_becomes_whole_is_taken(bench: Bench) -> None:
    """Half of it first, then the rest: refused, then announced, and nothing is noted any more."""
    key, pem = generate_signing_key()
    path = write(bench.launch / name_for(bench.clock.now(), ".pem"), pem[:40])
    bench.look_for(1)
    assert "PEM block" in bench.rows(KeyKind.OPERATOR)[0].note
    write(path, pem)
    bench.look_for(1)
    bench.look_for(LEAD_S + 1)
    assert key.key_id == bench.launch_now()
    assert ["", ""] == [row.note for row in bench.rows(KeyKind.OPERATOR)]


def test_a_name_without_a_time_is_reported(bench: Bench) -> None:
    """It is never used; the fault names it."""
    write(bench.hmac / "newest", b"second")
    bench.look_for(1)
    assert b"first" == bench.hmac_now()
    assert "newest: its name is not a time" in bench.rows(KeyKind.TENANT_HMAC)[0].note
    assert {"secret_file_refused": 1} == bench.events


def test_a_version_in_use_is_not_changed_by_its_file(bench: Bench) -> None:
    """Other content under its name is refused: versions are added. An announced one may still be corrected."""
    (path,) = bench.hmac.iterdir()
    write(path, b"other")
    bench.look_for(1)
    assert b"first" == bench.hmac_now()
    assert "add a new file" in bench.rows(KeyKind.TENANT_HMAC)[0].note
    announced = bench.add_hmac(b"mistyped", 60)
    bench.look_for(1)
    write(announced, b"corrected")
    bench.look_for(70)
    assert b"corrected" == bench.hmac_now()
