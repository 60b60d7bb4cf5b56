"""The key of the evidence chain: created once, private, reloaded when its file changes."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway.core.ed25519 import KeyRefused, generate_signing_key
from gateway.core.secret import Secret, SecretRefused
from gateway.keys.own.evidence_key import FILE_NAME, EvidenceKey
from gateway.keys.sources.secret_files import SecretSource
from tests.manual_clock import ManualClock


def test_many_that_start_at_once_make_one_key(tmp_path: Path) -> None:
    """Only the owner can read the file and its folder, and no other file remains."""
    folder = tmp_path / "new" / "data"

    def current(_: int) -> str:
        key = EvidenceKey(None, folder, ManualClock()).current()
        assert key is not None
        return key.key_id

    with ThreadPoolExecutor(16) as pool:
        ids = set(pool.map(current, range(64)))
    assert 1 == len(ids)
    assert [FILE_NAME] == [path.name for path in folder.iterdir()]
    assert (0o600, 0o700) == (stat.S_IMODE((folder / FILE_NAME).stat().st_mode), stat.S_IMODE(folder.stat().st_mode))
    assert ids == {current(0)}


def test_a_key_that_a_volume_opened_to_its_group_is_private_again(tmp_path: Path) -> None:
    """Kubernetes opens all files of a volume to the group of `fsGroup` at each mount. The key goes on signing."""
    first = EvidenceKey(None, tmp_path, ManualClock()).current()
    (tmp_path / FILE_NAME).chmod(0o660)
    again = EvidenceKey(None, tmp_path, ManualClock()).current()
    assert first is not None
    assert again is not None
    assert again.key_id == first.key_id
    assert stat.S_IMODE((tmp_path / FILE_NAME).stat().st_mode) == 0o600


def test_without_key_and_folder_there_is_none() -> None:
    """Nothing is signed then."""
    assert EvidenceKey(None, None, ManualClock()).current() is None


def test_a_configured_key_comes_before_one_that_would_be_made(tmp_path: Path) -> None:
    """And none is made."""
    key, pem = generate_signing_key()
    source = SecretSource(setting="GATEWAY_EVIDENCE_KEY", value=Secret(pem))
    found = EvidenceKey(source, tmp_path, ManualClock()).current()
    assert found is not None
    assert (key.key_id, []) == (found.key_id, list(tmp_path.iterdir()))


def test_a_changed_file_is_taken_over(tmp_path: Path) -> None:
    """Once it stood still for a look; an unusable one leaves the key in use, and both are counted."""
    path, clock, events = tmp_path / "key.pem", ManualClock(), list[str]()
    first, pem = generate_signing_key()
    path.touch(mode=0o600)
    path.write_bytes(pem)
    source = SecretSource(setting="GATEWAY_EVIDENCE_KEY_FILE", path=path)
    key = EvidenceKey(source, None, clock, events.append)
    assert key.current() == key.current()
    second, pem = generate_signing_key()
    path.write_bytes(pem)
    found = set()
    for _ in range(4):
        clock.advance(1.5)
        current = key.current()
        assert current is not None
        found.add(current.key_id)
    assert {first.key_id, second.key_id} == found
    path.write_bytes(b"no key")
    for _ in range(4):
        clock.advance(1.5)
        key.current()
    kept = key.current()
    assert kept is not None
    assert (second.key_id, ["secret_file_reloaded", "secret_file_refused"]) == (kept.key_id, events)


@pytest.mark.parametrize(("content", "mode", "refusal"), [(b"no key", 0o600, KeyRefused), (b"", 0o600, SecretRefused)])
def test_an_unusable_key_is_refused(tmp_path: Path, content: bytes, mode: int, refusal: type[Exception]) -> None:
    """Evidence then waits in the journal; it is never chained unsigned by mistake."""
    path = tmp_path / FILE_NAME
    path.touch(mode=mode)
    path.write_bytes(content)
    with pytest.raises(refusal):
        EvidenceKey(None, tmp_path, ManualClock()).current()


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    """As every secret."""
    path = tmp_path / FILE_NAME
    path.write_bytes(generate_signing_key()[1])
    path.chmod(0o644)
    with pytest.raises(SecretRefused, match="chmod 600"):
        EvidenceKey(None, tmp_path, ManualClock()).current()
