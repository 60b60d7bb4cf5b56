"""Keys in folders: a file more is a new version, whatever happens to files in between."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.keys.descriptions import KeyKind, KeyState
from gateway.keys.own.keyring import KeyringRefused
from gateway.keys.sources.version_files import name_for
from tests.keys.own.folder_bench import LEAD_S, RETIRE_S, Bench, write
from tests.manual_clock import ManualClock


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Folders with one version each, an hour old by their names, and a keyring over them."""
    made = Bench(tmp_path)
    made.add_hmac(b"first\n", -7200)
    made.add_launch_key(-7200)
    made.begin()
    return made


def test_a_secret_takes_over_at_the_time_of_its_name(bench: Bench) -> None:
    """Announced before, active from then on, and the old one is retiring."""
    bench.add_hmac(b"second\n", 60)
    bench.look_for(1)
    assert b"first" == bench.hmac_now()
    assert [KeyState.ANNOUNCED, KeyState.ACTIVE] == [row.state for row in bench.rows(KeyKind.TENANT_HMAC)]
    bench.look_for(60)
    assert b"second" == bench.hmac_now()
    assert [KeyState.ACTIVE, KeyState.RETIRING] == [row.state for row in bench.rows(KeyKind.TENANT_HMAC)]
    assert {"secret_file_announced": 1, "secret_file_reloaded": 1} == bench.events


def test_an_operator_key_is_published_for_the_lead_before_it_signs(bench: Bench) -> None:
    """Independent of its name. The replaced key stays published as long as its tokens may be valid."""
    first = bench.launch_now()
    second = bench.add_launch_key()
    bench.look_for(1)
    assert (first, {first, second}) == (bench.launch_now(), bench.published())
    bench.look_for(LEAD_S - 5)
    assert first == bench.launch_now()
    bench.look_for(5)
    assert (second, {first, second}) == (bench.launch_now(), bench.published())
    bench.look_for(RETIRE_S - 5)
    assert {first, second} == bench.published()
    bench.look_for(10)
    assert {second} == bench.published()
    assert [second, first] == [row.key_id for row in bench.rows(KeyKind.OPERATOR)]
    assert KeyState.RETIRED is bench.rows(KeyKind.OPERATOR)[1].state


def test_a_process_that_begins_within_the_lead_does_not_sign_early(bench: Bench, tmp_path: Path) -> None:
    """It goes by when the file was laid down, as the others do: they all change at one time."""
    first, second = bench.launch_now(), bench.add_launch_key()
    later = Bench(tmp_path)
    later.clock = ManualClock(now=bench.clock.now() + LEAD_S - 5)
    later.begin()
    assert (first, {first, second}) == (later.launch_now(), later.published())
    later.look_for(10)
    assert (second, {first, second}) == (later.launch_now(), later.published())


def test_files_mounted_together_are_taken_at_their_word(tmp_path: Path) -> None:
    """A container that begins has files of that moment; the newest key that should be in use is."""
    bench = Bench(tmp_path)
    bench.add_hmac(b"first", -7200)
    bench.add_launch_key(-7200)
    newest = bench.add_launch_key(-2 * LEAD_S)
    bench.begin()
    assert newest == bench.launch_now()
    assert [KeyState.ACTIVE, KeyState.RETIRING] == [row.state for row in bench.rows(KeyKind.OPERATOR)]


def test_the_same_content_laid_down_again_changes_nothing(bench: Bench) -> None:
    """As when Kubernetes renews its mount: other inodes, same keys."""
    before = bench.rows(KeyKind.OPERATOR)
    for path in bench.launch.iterdir():
        content = path.read_bytes()
        path.unlink()
        write(path, content)
    bench.look_for(5)
    assert before == bench.rows(KeyKind.OPERATOR)
    assert {} == bench.events


def test_a_kubernetes_mount_that_is_renewed_adds_a_version(tmp_path: Path) -> None:
    """Its files are links over a link that is turned to a new folder in one step."""
    bench = Bench(tmp_path)
    bench.add_launch_key(-7200)
    mount, old_name, new_name = bench.hmac, "20261001T000000Z", name_for(bench.clock.now(), "").replace(":", "")
    for number, names in enumerate(([old_name], [old_name, new_name])):
        data = mount / f"..data_{number}"
        data.mkdir()
        for name in names:
            write(data / name, b"secret of " + name.encode())
            if not (mount / name).is_symlink():
                (mount / name).symlink_to(Path("..data") / name)
        (mount / "..data_tmp").symlink_to(data.name)
        (mount / "..data_tmp").rename(mount / "..data")
        if number == 0:
            bench.begin()
            assert b"secret of " + old_name.encode() == bench.hmac_now()
    bench.look_for(2)
    assert b"secret of " + new_name.encode() == bench.hmac_now()
    assert ["", ""] == [row.note for row in bench.rows(KeyKind.TENANT_HMAC)]


def test_a_deleted_file_takes_back_what_is_not_in_use(bench: Bench) -> None:
    """An announced version is withdrawn, a retiring one is unpublished. The one in use stays, and this is reported."""
    first = bench.launch_now()
    withdrawn = bench.add_launch_key(1)
    bench.look_for(1)
    assert withdrawn in bench.published()
    max(bench.launch.iterdir()).unlink()
    bench.look_for(LEAD_S + 10)
    assert (first, {first}) == (bench.launch_now(), bench.published())
    second = bench.add_launch_key()
    bench.look_for(1)
    bench.look_for(LEAD_S)
    assert {first, second} == bench.published()
    min(bench.launch.iterdir()).unlink()
    bench.look_for(1)
    assert {second} == bench.published()
    next(bench.launch.iterdir()).unlink()
    bench.look_for(1)
    assert (second, {second}) == (bench.launch_now(), bench.published())
    assert "is missing" in bench.rows(KeyKind.OPERATOR)[0].note


def test_a_folder_that_vanishes_changes_nothing(bench: Bench) -> None:
    """The folder comes back, and files that were added meanwhile are found."""
    bench.hmac.rename(bench.hmac.with_name("away"))
    bench.look_for(5)
    assert b"first" == bench.hmac_now()
    bench.hmac.with_name("away").rename(bench.hmac)
    bench.add_hmac(b"second")
    bench.look_for(1)
    assert b"second" == bench.hmac_now()


def test_a_start_takes_the_best_of_a_folder(tmp_path: Path) -> None:
    """A broken newest file does not stop it; a folder without any usable version does, with the reason."""
    bench = Bench(tmp_path)
    bench.add_hmac(b"first", -7200)
    with pytest.raises(KeyringRefused, match="LAUNCH_FILE: its folder contains no version"):
        bench.begin()
    broken = bench.launch / name_for(bench.clock.now() - 60, ".pem")
    write(broken, b"nothing")
    with pytest.raises(KeyringRefused, match="LAUNCH_FILE: The private key is refused"):
        bench.begin()
    first = bench.add_launch_key(-7200)
    bench.begin()
    assert first == bench.launch_now()
    assert "PEM block" in bench.rows(KeyKind.OPERATOR)[0].note


def test_a_file_that_is_replaced_over_and_over_leaves_nothing_behind(tmp_path: Path) -> None:
    """A replaced version is listed while it retires, then removed."""
    bench = Bench(tmp_path)
    bench.hmac.rmdir()
    bench.add_launch_key(-7200)
    write(bench.hmac, b"secret 0")
    bench.begin()
    for number in range(1, 6):
        write(bench.hmac, b"secret %d" % number)
        bench.look_for(1000)
    assert b"secret 5" == bench.hmac_now()
    assert 5 == len(bench.rows(KeyKind.TENANT_HMAC))
    bench.look_for(4000)
    assert [KeyState.ACTIVE] == [row.state for row in bench.rows(KeyKind.TENANT_HMAC)]
