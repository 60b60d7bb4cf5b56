"""Keys in folders: a file more is a new version, whatever happens to files in between."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from pathlib import Path

import pytest

from gateway.core.ed25519 import generate_signing_key
from gateway.core.key_trial import TrialResult
from gateway.core.types import Environment, KeyId, OperatorCode, TenantId
from gateway.keys.descriptions import KeyDescription, KeyKind, KeyState
from gateway.keys.own.keyring import Keyring, KeyringRefused, OperatorEntry, TenantEntry
from gateway.keys.own.signing import SigningKeys
from gateway.keys.sources.secret_files import SecretSource
from gateway.keys.sources.version_files import name_for
from tests.config.valid_settings import rsa_pem
from tests.manual_clock import ManualClock

TENANT, OPERATOR, SANDBOX = TenantId("tenant"), OperatorCode("acme"), Environment.SANDBOX
LEAD_S, RETIRE_S = 300.0, 3900.0


class Phoenix:
    """Accepts the given secrets. If `answers` is False, it does not answer."""

    def __init__(self) -> None:
        self.takes: set[bytes] = set()
        self.answers = True
        self.asked = 0

    async def tenant(
        self, tenant_id: TenantId, kind: KeyKind, candidate: SigningKeys, current: SigningKeys
    ) -> TrialResult:
        self.asked += 1
        if not self.answers:
            return TrialResult.UNANSWERED
        secret = candidate.tenant(tenant_id).hmac
        assert secret is not None
        return TrialResult.ACCEPTED if secret.reveal() in self.takes else TrialResult.REFUSED

    async def operator(
        self, operator_code: OperatorCode, environment: Environment, candidate: SigningKeys, current: SigningKeys
    ) -> TrialResult:
        return TrialResult.UNPROVEN


class Bench:
    """A keyring over folders, on a clock that begins now: files have real times."""

    def __init__(self, directory: Path, phoenix: Phoenix | None = None) -> None:
        self.hmac, self.launch = directory / "hmac", directory / "launch"
        self.clock = ManualClock(now=time.time())
        self.events: Counter[str] = Counter()
        self.phoenix = phoenix
        self.hmac.mkdir(exist_ok=True)
        self.launch.mkdir(exist_ok=True)

    def begin(self) -> Keyring:
        """A process: the first one, or another that begins later."""
        self.keyring = Keyring(
            tenants=[TenantEntry(tenant_id=TENANT, hmac=SecretSource(setting="HMAC_FILE", path=self.hmac))],
            operators=[
                OperatorEntry(
                    operator_code=OPERATOR,
                    environment=SANDBOX,
                    signing_key=SecretSource(setting="LAUNCH_FILE", path=self.launch),
                    lead_s=LEAD_S,
                    retire_s=RETIRE_S,
                )
            ],
            clock=self.clock,
            on_event=lambda name: self.events.update([name]),
            trial=self.phoenix,
        )
        return self.keyring

    def add_hmac(self, content: bytes, after_s: float = 0.0) -> Path:
        return write(self.hmac / name_for(self.clock.now() + after_s, ""), content)

    def add_launch_key(self, after_s: float = 0.0) -> KeyId:
        key, pem = generate_signing_key()
        write(self.launch / name_for(self.clock.now() + after_s, ".pem"), pem)
        return key.key_id

    def look_for(self, seconds: float) -> None:
        """Advance the clock and check, twice at the end: a new file must be unchanged between two checks."""
        self.clock.advance(seconds)
        for _ in range(2):
            self.keyring.check_files()

    def hmac_now(self) -> bytes:
        secret = self.keyring.tenant(TENANT).hmac
        assert secret is not None
        return secret.reveal()

    def launch_now(self) -> KeyId:
        key = self.keyring.operator(OPERATOR, SANDBOX).signing_key
        assert key is not None
        return key.key_id

    def rows(self, kind: KeyKind) -> list[KeyDescription]:
        return [row for row in self.keyring.describe() if row.kind is kind]

    def published(self) -> set[KeyId]:
        return {one.key.key_id for one in self.keyring.published()}


def write(path: Path, content: bytes, mode: int = 0o600) -> Path:
    path.touch(mode=0o600)
    path.write_bytes(content)
    path.chmod(mode)
    return path


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


async def test_a_secret_that_phoenix_refuses_keeps_the_old_one(tmp_path: Path) -> None:
    """Alarm and note, but no change. When Phoenix knows the key, it becomes active automatically."""
    phoenix = Phoenix()
    bench = Bench(tmp_path, phoenix)
    bench.add_hmac(b"first", -7200)
    bench.add_launch_key(-7200)
    keyring = bench.begin()
    bench.add_hmac(b"second")
    bench.look_for(1)
    await keyring.settle()
    bench.look_for(100)
    await keyring.settle()
    assert b"first" == bench.hmac_now()
    assert 1 == bench.events["secret_file_rejected"]
    assert "Phoenix refuses it" in bench.rows(KeyKind.TENANT_HMAC)[0].note
    phoenix.takes.add(b"second")
    bench.look_for(100)
    await keyring.settle()
    assert b"second" == bench.hmac_now()
    assert ["", ""] == [row.note for row in bench.rows(KeyKind.TENANT_HMAC)]


async def test_a_process_that_begins_with_a_refused_secret_goes_back_before_it_serves(tmp_path: Path) -> None:
    """A replica that was killed in between asks first, and signs with what Phoenix takes."""
    phoenix = Phoenix()
    bench = Bench(tmp_path, phoenix)
    bench.add_hmac(b"first", -7200)
    bench.add_hmac(b"second", -10)
    bench.add_launch_key(-7200)
    keyring = bench.begin()
    await keyring.settle()
    assert b"first" == bench.hmac_now()
    bench.look_for(10)
    assert b"first" == bench.hmac_now()


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


async def test_a_replaced_single_file_is_tried_too(tmp_path: Path) -> None:
    """Replacing is rotating now: as soon as Phoenix takes it."""
    phoenix = Phoenix()
    bench = Bench(tmp_path, phoenix)
    bench.hmac.rmdir()
    write(bench.hmac, b"first")
    bench.add_launch_key(-7200)
    keyring = bench.begin()
    write(bench.hmac, b"second")
    bench.look_for(1)
    await keyring.settle()
    assert b"first" == bench.hmac_now()
    phoenix.takes.add(b"third")
    write(bench.hmac, b"third")
    bench.look_for(1)
    await keyring.settle()
    assert b"third" == bench.hmac_now()
    assert [KeyState.ACTIVE, KeyState.RETIRING] == [row.state for row in bench.rows(KeyKind.TENANT_HMAC)]


async def test_many_rejected_calls_have_the_keys_looked_into_once(tmp_path: Path) -> None:
    """All calls wait for one trial and use the key that Phoenix accepts. Without a candidate, no call waits."""
    phoenix = Phoenix()
    bench = Bench(tmp_path, phoenix)
    bench.add_hmac(b"first", -7200)
    bench.add_launch_key(-7200)
    keyring = bench.begin()
    sent_at = bench.clock.monotonic()
    await asyncio.gather(*(keyring.on_unauthorized(sent_at) for _ in range(100)))
    assert (0, b"first") == (phoenix.asked, bench.hmac_now())
    bench.add_hmac(b"second", 30)
    bench.look_for(1)
    phoenix.takes.add(b"second")
    bench.clock.advance(1)
    sent_at = bench.clock.monotonic()
    await asyncio.gather(*(keyring.on_unauthorized(sent_at) for _ in range(100)))
    assert (1, b"second") == (phoenix.asked, bench.hmac_now())
    await keyring.on_unauthorized(sent_at)  # a call that was signed before the change
    assert 1 == phoenix.asked


async def test_a_key_that_phoenix_switches_after_a_round_of_trials_began_is_found(tmp_path: Path) -> None:
    """The round of an earlier rejection says nothing about a call that was signed before it and rejected after it."""
    phoenix = Phoenix()
    bench = Bench(tmp_path, phoenix)
    bench.add_hmac(b"first", -7200)
    bench.add_launch_key(-7200)
    keyring = bench.begin()
    bench.add_hmac(b"second")
    bench.look_for(1)
    sent_at = bench.clock.monotonic()
    assert not await keyring.on_unauthorized(sent_at)
    assert (1, b"first") == (phoenix.asked, bench.hmac_now())
    phoenix.takes.add(b"second")
    bench.clock.advance(2)
    assert await keyring.on_unauthorized(sent_at)
    assert (2, b"second") == (phoenix.asked, bench.hmac_now())


async def test_a_version_that_is_found_after_a_round_of_trials_began_is_tried(tmp_path: Path) -> None:
    """Another key of the process may have caused that round."""
    phoenix = Phoenix()
    phoenix.takes |= {b"second", b"third"}
    bench = Bench(tmp_path, phoenix)
    bench.add_hmac(b"first", -7200)
    bench.add_launch_key(-7200)
    keyring = bench.begin()
    bench.add_hmac(b"second")
    bench.look_for(1)
    sent_at = bench.clock.monotonic()
    assert await keyring.on_unauthorized(sent_at)
    bench.add_hmac(b"third", 1)
    bench.look_for(2)
    assert await keyring.on_unauthorized(sent_at)
    assert b"third" == bench.hmac_now()
