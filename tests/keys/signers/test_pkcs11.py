"""Keys in a real SoftHSM: sessions per thread, versions by label, and what a PIN and a lost token do."""

from __future__ import annotations

import ctypes
import os
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.core.secret_reference import SIGNER_SCHEMES, parse_reference
from gateway.keys.signers.open_store import open_key_store
from gateway.keys.signers.pkcs11 import Pkcs11Store
from gateway.keys.signers.pkcs11_module import load
from gateway.keys.signers.pkcs11_uri import parse_pkcs11
from gateway.keys.signers.store import KeyStore
from gateway.keys.signers.transit import VaultRequests
from gateway.keys.sources.store_failure import StoreCause, StoreFailed
from tests.softhsm import PIN, SO_PIN, SoftHsm, Token


@pytest.fixture(scope="session")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Token]]:
    """The tokens of this process: one for all tests, one that a test deletes, and others without a login before."""
    hsm = SoftHsm(tmp_path_factory.mktemp("softhsm"))
    made = {label: hsm.token(label) for label in ("shared", "doomed", "unopened", "held", "foreign")}
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
    module = load(str(token.hsm.module))
    assert {("unopened", "planted-wrong-pin")} == module.refused
    module.refused.add(("unopened", PIN))  # the token would take it: it is not asked
    for pin in ("planted-other-pin", PIN, "planted-wrong-pin", PIN):
        pin_file.write_text(pin)
        with pytest.raises(StoreFailed, match="refuses the PIN"):
            store.versions()
    module.refused.remove(("unopened", PIN))
    assert {("unopened", "planted-wrong-pin"), ("unopened", "planted-other-pin")} == module.refused
    assert 1 == len(store.versions())
    assert not module.refused


def test_a_token_that_hangs_at_the_login_holds_no_thread_with_a_session(tokens: dict[str, Token], key: Key) -> None:
    """Nor another token of its module."""
    token = tokens["held"]
    token.make_key("launch")
    hangs, goes_on = threading.Event(), threading.Event()

    def read_pin(_: Path) -> str:
        hangs.set()
        assert goes_on.wait(30)
        return PIN

    store = opened(key.reference)
    held = Pkcs11Store(parse_pkcs11(token.reference(key.pin_file, "launch")), read_pin)
    with ThreadPoolExecutor(1) as signs, ThreadPoolExecutor(1) as waits:
        (one,) = signs.submit(store.versions).result(30)
        versions = waits.submit(held.versions)
        try:
            assert hangs.wait(30)
            assert one.public.verify(b"x", signs.submit(store.sign, one.name, [b"x"]).result(5)[0])
        finally:
            goes_on.set()
        assert 1 == len(versions.result(30))


def test_a_module_that_does_not_begin_again_is_begun_by_the_next_call(
    key: Key, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Also by the call for another token."""
    module = load(str(key.token.hsm.module))
    store, begun = opened(key.reference), module.begun
    (one,) = store.versions()
    module._tokens = {key.token.label}
    with monkeypatch.context() as patched, module.use():
        patched.setenv("SOFTHSM2_CONF", str(tmp_path / "nowhere"))
        with pytest.raises(StoreFailed, match="does not begin"):
            module._begin_again(key.token.label)
    assert (begun + 1, set()) == (module.begun, module._tokens)
    assert one.public.verify(b"x", store.sign(one.name, [b"x"])[0])


def test_a_module_is_one_whichever_path_names_it(key: Key, tmp_path: Path) -> None:
    """A second one would end the sessions of the first. Threads that come first at the same time get one too."""
    link = tmp_path / "module.so"
    link.symlink_to(key.token.hsm.module)
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(load, [str(link), str(key.token.hsm.module)] * 8))
    assert 1 == len({id(one) for one in found})


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


def test_a_label_that_is_no_text_is_of_another_application(tokens: dict[str, Token], pin_file: Path) -> None:
    """Its key stops no other key."""
    token = tokens["foreign"]
    token.make_keys("launch", "another-label")
    changed = 0
    for path in token.hsm.tokens.rglob("*.object"):
        old = path.read_bytes()
        if b"another-label" in old:
            path.write_bytes(old.replace(b"another-label", b"another-\xff\xfe\xfd\xfc\xfb"))
            changed += 1
    assert changed
    store = opened(token.reference(pin_file, "launch"))
    (one,) = store.versions()
    assert one.public.verify(b"x", store.sign("launch", [b"x"])[0])
    assert [] == store.needless_rights()


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
