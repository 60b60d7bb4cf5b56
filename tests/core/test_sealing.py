"""Sealed entries open for their place and time only."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.sealing import SealedFor, SealKeys, SealRefused
from gateway.core.secret import Secret, SecretRefused
from gateway.core.types import UnixSeconds

KEYS = SealKeys([Secret(b"1" * 32)])
PLACE = SealedFor(purpose="platform-key", name="host", environment="prod", tenant="t")
STORED, EXPIRES = UnixSeconds(1000), UnixSeconds(1120)
SEALED = KEYS.seal(PLACE, b"payload", stored_at=STORED, expires_at=EXPIRES)


def opens(keys: SealKeys, place: SealedFor, sealed: bytes, now: int = 1050) -> bool:
    try:
        return keys.open(place, sealed, now=UnixSeconds(now)).payload == b"payload"
    except SealRefused:
        return False


def test_it_opens_where_it_was_sealed() -> None:
    """Payload and times come back."""
    opened = KEYS.open(PLACE, SEALED, now=UnixSeconds(1050))
    assert (opened.payload, opened.stored_at, opened.expires_at) == (b"payload", STORED, EXPIRES)


def test_it_shows_nothing_and_no_two_are_alike() -> None:
    """The payload is encrypted with a unique nonce."""
    again = KEYS.seal(PLACE, b"payload", stored_at=STORED, expires_at=EXPIRES)
    assert b"payload" not in SEALED
    assert again != SEALED


@given(bit=st.integers(0, len(SEALED) * 8 - 1))
def test_changing_any_bit_refuses(bit: int) -> None:
    """No bit is free."""
    changed = bytearray(SEALED)
    changed[bit // 8] ^= 1 << bit % 8
    assert not opens(KEYS, PLACE, bytes(changed))


@given(size=st.integers(0, len(SEALED) - 1))
def test_cutting_it_refuses(size: int) -> None:
    """No part of an entry is an entry."""
    assert not opens(KEYS, PLACE, SEALED[:size])


@pytest.mark.parametrize("part", ["purpose", "name", "environment", "tenant"])
def test_it_opens_nowhere_else(part: str) -> None:
    """Another purpose, name, environment or tenant refuses, and so do parts shifted into each other."""
    assert not opens(KEYS, replace(PLACE, **{part: "other"}), SEALED)
    assert not opens(KEYS, replace(PLACE, purpose="platform-keyhost", name=""), SEALED)


def test_time_is_covered() -> None:
    """Over at the expiry, and refused when it comes from the future by more than a minute."""
    assert [opens(KEYS, PLACE, SEALED, now) for now in (939, 940, 1119, 1120)] == [False, True, True, False]


def test_keys_can_be_changed_while_a_fleet_runs() -> None:
    """The first key seals, all open; a key that is gone opens nothing."""
    new = Secret(b"2" * 32)
    both = SealKeys([new, Secret(b"1" * 32)])
    assert opens(both, PLACE, SEALED)
    fresh = both.seal(PLACE, b"payload", stored_at=STORED, expires_at=EXPIRES)
    assert opens(SealKeys([new]), PLACE, fresh)
    assert not opens(KEYS, PLACE, fresh)


def test_keys_are_read_from_text() -> None:
    """Either base64 alphabet, padded or not, separated by commas or spaces."""
    one, two = b"\xfb" * 32, b"\xff" * 32
    text = base64.b64encode(one).decode() + ", " + base64.urlsafe_b64encode(two).decode().rstrip("=")
    keys = SealKeys.from_text(text)
    assert opens(SealKeys([Secret(one)]), PLACE, keys.seal(PLACE, b"payload", stored_at=STORED, expires_at=EXPIRES))


@pytest.mark.parametrize("text", ["", "hunter2", "!" * 44, base64.b64encode(b"x" * 31).decode()])
def test_wrong_keys_are_refused_without_being_repeated(text: str) -> None:
    """None, short, no base64."""
    with pytest.raises(SecretRefused) as caught:
        SealKeys.from_text(text)
    assert not text or text not in str(caught.value)


# Made by the last version that only authenticated entries, from the values above.
OLD = bytes.fromhex(
    "50475331bd00000000000003e8000000000000046025caeab6cb6de4b8697ce1f6ee29f35299b528891d99c206c969fa9e0def8caa7061796c6f6164"
)


def test_an_entry_of_the_form_before_encryption_is_read() -> None:
    """A list of what is switched off survives the upgrade; changed, or elsewhere, it is refused as ever."""
    assert opens(KEYS, PLACE, OLD)
    assert not opens(KEYS, PLACE, OLD[:-1] + b"x")
    assert not opens(KEYS, replace(PLACE, tenant="other"), OLD)
    assert not opens(SealKeys([Secret(b"2" * 32)]), PLACE, OLD)
