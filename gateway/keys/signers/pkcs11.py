"""Keys in an HSM behind PKCS#11, signed with CKM_EDDSA. Each thread has a session of its own.

A version is a pair of objects whose label is the name in the reference, or the name, `@` and the activation time:
`launch` and `launch@2026-11-21T10:00Z`. An HSM does not say when a key was made, so only the time in its label counts.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import pkcs11

from gateway.core.ed25519 import KeyRefused, VerifyingKey
from gateway.keys.signers.pkcs11_module import READ_PIN, close, load
from gateway.keys.signers.pkcs11_uri import Pkcs11Uri
from gateway.keys.signers.store import StoredKey
from gateway.keys.sources.store_failure import StoreCause, StoreFailed
from gateway.keys.sources.version_files import time_in_name

T = TypeVar("T")
_POINT_BYTES = 32


class _SessionFailed(StoreFailed):
    """A session failed, or shows no key as one without a login does; another one may work."""


class Pkcs11Store:
    """One key of a token. A KeyStore."""

    most_in_one_request = 1
    at_once = 4
    """Sessions that sign. An HSM in a network answers several at once; one in this machine uses a core each."""

    def __init__(self, uri: Pkcs11Uri, read_pin: READ_PIN) -> None:
        """Connect at first use. `read_pin` reads the file of the PIN. Raises: StoreFailed, also later."""
        self.reference = uri.text
        self._uri = uri
        self._read_pin = read_pin
        self._own = threading.local()

    def versions(self) -> list[StoredKey]:
        """List the public keys with this name. Raises: StoreFailed."""
        return _in_a_new_session_too(self._versions)

    def sign(self, version: str, messages: Sequence[bytes]) -> list[bytes]:
        """Sign one after another. Raises: StoreFailed."""
        return _in_a_new_session_too(lambda: self._sign(version, messages))

    def needless_rights(self) -> list[str]:
        """Return what the HSM would do with the key besides signing. Raises: StoreFailed."""
        wrong = []
        with self._session() as session:
            for key in _objects(session, pkcs11.ObjectClass.PRIVATE_KEY):
                if _version_in(_label(key), self._uri.object) is None:
                    continue
                if key[pkcs11.Attribute.EXTRACTABLE]:
                    wrong.append(f"{key.label} can be extracted (CKA_EXTRACTABLE)")
                if not key[pkcs11.Attribute.SENSITIVE]:
                    wrong.append(f"{key.label} can be read (CKA_SENSITIVE is false)")
        return wrong

    def _versions(self) -> list[StoredKey]:
        with self._session() as session:
            found = [_stored(one, self._uri.object) for one in _objects(session, pkcs11.ObjectClass.PUBLIC_KEY)]
            versions = [one for one in found if one is not None]
            if not versions:
                raise _SessionFailed(
                    StoreCause.NO_SUCH_PATH, f"its token has no Ed25519 public key with the label {self._uri.object}"
                )
        if len({one.name for one in versions}) != len(versions):
            raise StoreFailed(
                StoreCause.UNUSABLE_ANSWER,
                "its token has two public keys with the same label; give each version its own",
            )
        return versions

    def _sign(self, version: str, messages: Sequence[bytes]) -> list[bytes]:
        with self._session() as session:
            keys = self._own.keys
            if version not in keys:
                found = _objects(session, pkcs11.ObjectClass.PRIVATE_KEY, version)
                if len(found) != 1:
                    raise _SessionFailed(
                        StoreCause.NO_SUCH_PATH,
                        f"its token has {len(found)} private keys with the label {version}, not one",
                    )
                keys[version] = found[0]
            return [bytes(keys[version].sign(one, mechanism=pkcs11.Mechanism.EDDSA)) for one in messages]

    @contextmanager
    def _session(self) -> Iterator[Any]:
        """Use the session of this thread; after a failure it is closed, and the next use opens another one."""
        module, own = load(str(self._uri.module)), self._own
        with module.use() as begun:
            try:
                if getattr(own, "session", None) is None or own.begun != begun:
                    own.keys, own.session = {}, None
                    own.session = module.open_session(self._uri, self._read_pin)
                    own.begun = module.begun
                yield own.session
            except _SessionFailed:
                self._forget()
                raise
            except (pkcs11.PKCS11Error, OSError) as error:
                self._forget()
                raise _SessionFailed(StoreCause.UNREACHABLE, _cause(error)) from None

    def _forget(self) -> None:
        session, self._own.session, self._own.keys = self._own.session, None, {}
        if session is not None:
            close(session)


def _in_a_new_session_too(work: Callable[[], T]) -> T:
    """Repeat what failed: the HSM may have ended the session or its login, and then a new session works."""
    try:
        return work()
    except _SessionFailed:
        return work()


def _objects(session: Any, kind: Any, label: str | None = None) -> list[Any]:
    wanted = {pkcs11.Attribute.CLASS: kind, pkcs11.Attribute.KEY_TYPE: pkcs11.KeyType.EC_EDWARDS}
    if label is not None:
        wanted[pkcs11.Attribute.LABEL] = label
    return list(session.get_objects(wanted))


def _stored(public: Any, name: str) -> StoredKey | None:
    """Return the version that a public key is; None for another key. Raises: StoreFailed."""
    named_at = _version_in(_label(public), name)
    if named_at is None:
        return None
    point = bytes(public[pkcs11.Attribute.EC_POINT])
    try:
        # The point is wrapped in an OCTET STRING, in a BIT STRING, or not at all: the standard changed its mind.
        key = VerifyingKey(point[-_POINT_BYTES:])
    except KeyRefused as refusal:
        raise StoreFailed(StoreCause.UNUSABLE_ANSWER, str(refusal)) from None
    return StoredKey(name=public.label, public=key, order=named_at, named_at=named_at or None)


def _label(key: Any) -> str:
    """Return the label of a key; "" for another application's that is no text."""
    try:
        return str(key.label)
    except UnicodeDecodeError:
        return ""


def _version_in(label: str, name: str) -> float | None:
    """Return the activation time in a label, 0 without one; None if the label is of another key."""
    if label == name:
        return 0.0
    return time_in_name(label.removeprefix(f"{name}@")) if label.startswith(f"{name}@") else None


def _cause(error: Exception) -> str:
    """Return the name of what went wrong. The library's own texts are empty, or quote what it was given."""
    return f"PKCS#11 failed ({type(error).__name__})"
