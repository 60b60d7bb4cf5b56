"""Keys in a real SoftHSM: sessions per thread, versions by label, and what a PIN and a lost token do."""

from __future__ import annotations

import ctypes
import os
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.core.secret_reference import SIGNER_SCHEMES, parse_reference
from gateway.keys.signers.open_store import open_key_store
from gateway.keys.signers.pkcs11_module import load
from gateway.keys.signers.pkcs11_uri import parse_pkcs11
from gateway.keys.signers.store import KeyStore
from gateway.keys.signers.transit import VaultRequests
from gateway.keys.sources.store_failure import StoreCause, StoreFailed
from tests.softhsm import PIN, SO_PIN, SoftHsm, Token


@pytest.fixture(scope="session")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Token]]:
    """The tokens of this process: one for all tests, one that a test deletes, and one without a login before."""
    hsm = SoftHsm(tmp_path_factory.mktemp("softhsm"))
    made = {label: hsm.token(label) for label in ("shared", "doomed", "unopened")}
    os.environ.update(hsm.environ)
    yield made
    for name in hsm.environ:
        del os.environ[name]


@dataclass(frozen=True, slots=True)
class Key:
    """A key of one test in a token, with one version."""

    token: Token
    name: str
    pin_file: Path

    @property
    def reference(self) -> str:
        return self.token.reference(self.pin_file, self.name)

    def add(self, time: str) -> bytes:
        return self.token.make_key(f"{self.name}@{time}")


@pytest.fixture
def key(tokens: dict[str, Token], pin_file: Path) -> Key:
    made = Key(tokens["shared"], f"launch-{uuid.uuid4().hex}", pin_file)
    made.token.make_key(made.name)
    return made


@pytest.fixture
def pin_file(tmp_path: Path) -> Path:
    path = tmp_path / "pin"
    path.touch(mode=0o600)
    path.write_text(PIN)
    return path


def no_vault() -> VaultRequests:
    raise AssertionError("no reference names Vault")


def opened(reference: str) -> KeyStore:
    return open_key_store(parse_reference(reference, SIGNER_SCHEMES), no_vault)


def test_it_signs_from_several_threads_at_once(key: Key) -> None:
    """Each has a session of its own. A module that was told of one thread only crashes here."""
    store = opened(key.reference)
    (one,) = store.versions()

    def sign(number: int) -> bool:
        message = b"message %d" % number
        return one.public.verify(message, store.sign(one.name, [message])[0])

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(sign, range(200)))


def test_versions_are_labels_with_a_time(key: Key) -> None:
    """The plain label is the oldest; labels of other keys are not versions."""
    expected = [key.add("2029-01-01T00:00Z"), key.add("2030-01-01T00:00Z")]
    key.add("other")
    key.token.make_key(f"{key.name}r")
    found = sorted(opened(key.reference).versions(), key=lambda one: one.order)
    assert ["", "@2029-01-01T00:00Z", "@2030-01-01T00:00Z"] == [one.name.removeprefix(key.name) for one in found]
    assert [None, 1861920000.0, 1893456000.0] == [one.named_at for one in found]
    assert expected == [one.public.raw for one in found[1:]]


def test_a_key_that_is_made_later_is_found_and_signs(key: Key) -> None:
    """Without a restart."""
    store = opened(key.reference)
    assert 1 == len(store.versions())
    name = f"{key.name}@2029-01-01T00:00Z"
    public = key.add("2029-01-01T00:00Z")
    found = {one.name: one.public for one in store.versions()}
    assert public == found[name].raw
    assert found[name].verify(b"x", store.sign(name, [b"x"])[0])


def test_a_wrong_pin_is_tried_once(tokens: dict[str, Token], pin_file: Path) -> None:
    """A token locks itself after some tries. A corrected file is tried again."""
    token = tokens["unopened"]
    token.make_key("launch")
    pin_file.write_text("planted-wrong-pin")
    store = opened(token.reference(pin_file, "launch"))
    for _ in range(20):
        with pytest.raises(StoreFailed, match="refuses the PIN") as failed:
            store.versions()
        assert StoreCause.LOGIN is failed.value.cause
        assert "planted" not in str(failed.value)
    pin_file.chmod(0o644)
    with pytest.raises(StoreFailed, match=r"pin-source: its file .*chmod 600"):
        store.versions()
    pin_file.chmod(0o600)
    pin_file.write_text(PIN)
    refused = load(str(token.hsm.module)).refused
    assert {"unopened": "planted-wrong-pin"} == refused
    refused["unopened"] = PIN  # the token would take it: it is not asked
    with pytest.raises(StoreFailed, match="refuses the PIN"):
        store.versions()
    refused.clear()
    assert 1 == len(store.versions())


def test_a_private_key_that_is_destroyed_signs_no_more(key: Key) -> None:
    """The cause is named; no other key signs in its place."""
    key.add("2029-01-01T00:00Z")
    store = opened(key.reference)
    assert 2 == len(store.versions())
    key.token.destroy(key.name, "private")
    with pytest.raises(StoreFailed):
        store.sign(key.name, [b"x"])
    assert 1 == len(store.sign(f"{key.name}@2029-01-01T00:00Z", [b"x"]))


def test_a_token_that_is_gone_is_named(tokens: dict[str, Token], pin_file: Path) -> None:
    """At the start, and later."""
    doomed = tokens["doomed"]
    doomed.make_key("launch")
    store = opened(doomed.reference(pin_file, "launch"))
    store.versions()
    with pytest.raises(StoreFailed, match="0 tokens of this name"):
        opened(doomed.reference(pin_file, "launch").replace("token=doomed", "token=nowhere")).versions()
    doomed.delete()
    with pytest.raises(StoreFailed):
        store.sign("launch", [b"x"])


def test_a_session_that_ends_is_opened_again(key: Key) -> None:
    """An HSM ends idle sessions, and all of them when it restarts. No call notices, whichever sessions are left."""
    store, other = opened(key.reference), opened(key.reference)
    (one,) = store.versions()
    functions = ctypes.CDLL(str(key.token.hsm.module))
    for ended in ((store,), (store, other), (other,)):
        assert [1, 1] == [len(each.sign(one.name, [b"x"])) for each in (store, other)]
        for each in ended:
            assert 0 == functions.C_CloseSession(ctypes.c_ulong(each._own.session.handle))  # type: ignore[attr-defined]
        for each in (store, other):
            assert one.public.verify(b"y", each.sign(one.name, [b"y"])[0])


def test_a_login_that_ends_is_made_again(key: Key) -> None:
    """An HSM may log an idle user out and keep the sessions. Their private keys are gone, also those not used yet."""
    key.add("2029-01-01T00:00Z")
    store = opened(key.reference)
    versions = {one.name: one.public for one in store.versions()}
    functions = ctypes.CDLL(str(key.token.hsm.module))
    for name, public in versions.items():
        assert 0 == functions.C_Logout(ctypes.c_ulong(store._own.session.handle))  # type: ignore[attr-defined]
        assert public.verify(b"x", store.sign(name, [b"x"])[0])


def test_a_key_that_can_be_extracted_is_reported(key: Key) -> None:
    """A key that stays in the HSM is not."""
    store = opened(key.reference)
    assert [] == store.needless_rights()
    name = f"{key.name}@2029-01-01T00:00Z"
    key.token.make_key(name, "open")
    wrong = [f"{name} can be extracted (CKA_EXTRACTABLE)", f"{name} can be read (CKA_SENSITIVE is false)"]
    assert wrong == store.needless_rights()


def test_a_module_that_is_missing_is_named(key: Key) -> None:
    """With the path that was tried."""
    reference = key.reference.replace(str(key.token.hsm.module), "/nowhere/module.so")
    with pytest.raises(StoreFailed, match="module"):
        opened(reference).versions()


@pytest.mark.parametrize(
    ("reference", "problem"),
    [
        ("pkcs11:token=a;object=b?module-path=/x&pin-value=1234", "holds a PIN"),
        ("pkcs11:token=a;object=b", "does not name module-path"),
        ("pkcs11:token=a?module-path=/x", "does not name object"),
        ("pkcs11:token=a;token=b;object=c?module-path=/x", "names token twice"),
        ("pkcs11:token=a;object=b;slot-id=3?module-path=/x", "has a part"),
        ("vault:x", "is no PKCS#11 URI"),
    ],
)
def test_references_that_are_refused(reference: str, problem: str) -> None:
    """A PIN in a reference would be shown; the message does not repeat it."""
    with pytest.raises(ValueError, match=problem) as refused:
        parse_pkcs11(reference)
    assert "1234" not in str(refused.value)


def test_a_reference_is_read_as_the_standard_writes_it() -> None:
    """Percent-encoding, and a PIN file as a file: URI."""
    uri = parse_pkcs11("pkcs11:token=my%20hsm;object=a%3Bb?module-path=/m.so&pin-source=file:///run/pin")
    assert ("my hsm", "a;b", Path("/m.so"), Path("/run/pin")) == (uri.token, uri.object, uri.module, uri.pin_file)


def test_nothing_of_a_pin_is_shown(key: Key) -> None:
    """Not by the store, and not by what it raises."""
    store = opened(key.reference)
    store.versions()
    assert PIN not in repr(store) + store.reference
    assert SO_PIN not in repr(vars(store))
