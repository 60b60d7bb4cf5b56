"""Keys in an HSM behind PKCS#11, signed with CKM_EDDSA. Each thread has a session of its own.

A version is a pair of objects whose label is the name in the reference, or the name, `@` and the activation time:
`launch` and `launch@2026-11-21T10:00Z`. An HSM does not say when a key was made, so only the time in its label counts.
"""

from __future__ import annotations

import ctypes
import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pkcs11
from pkcs11 import _pkcs11

from gateway.core.ed25519 import KeyRefused, VerifyingKey
from gateway.keys.signers.pkcs11_uri import Pkcs11Uri
from gateway.keys.signers.store import StoredKey
from gateway.keys.sources.store_failure import StoreCause, StoreFailed
from gateway.keys.sources.version_files import time_in_name

READ_PIN = Callable[[Path], str]
_OS_LOCKING = 2  # CKF_OS_LOCKING_OK
_INITIALIZED = (0, 0x191)  # CKR_OK, CKR_CRYPTOKI_ALREADY_INITIALIZED
_POINT_BYTES = 32
_WRONG_PIN = "its token refuses the PIN; correct the file of pin-source (the same PIN is not tried again)"
_SESSION_ENDED = (
    pkcs11.SessionHandleInvalid,
    pkcs11.SessionClosed,
    pkcs11.DeviceRemoved,
    pkcs11.TokenNotPresent,
    pkcs11.UserNotLoggedIn,
)


class _SessionFailed(StoreFailed):
    """A session failed; another one may work."""


class _InitializeArguments(ctypes.Structure):
    """CK_C_INITIALIZE_ARGS: no callbacks, the system's locks."""

    _fields_ = (
        ("callbacks", ctypes.c_void_p * 4),
        ("flags", ctypes.c_ulong),
        ("reserved", ctypes.c_void_p),
    )


class _Module(_pkcs11.lib):
    """A module that several threads may call: the library's own `initialize` declares that only one thread does.

    A process logs in to a token once, for all keys in it. `logins` holds the sessions that did so, by token; `refused`
    the PINs that a token refused. Both are used under `lock`.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.lock = threading.Lock()
        self.logins: dict[str, Any] = {}
        self.refused: dict[str, str] = {}

    def initialize(self) -> None:
        arguments = _InitializeArguments(flags=_OS_LOCKING)
        result = ctypes.CDLL(self.so).C_Initialize(ctypes.byref(arguments))
        if result not in _INITIALIZED:
            raise StoreFailed(
                StoreCause.UNREACHABLE,
                f"its module cannot be used by several threads (C_Initialize returned {result:#x})",
            )


@functools.cache
def _load(path: str) -> _Module:
    """Return the module, which a process initializes once and never unloads: its threads may be in it."""
    try:
        module = _Module(path)
    except pkcs11.PKCS11Error as error:
        raise StoreFailed(
            StoreCause.NOT_INSTALLED, f"its module {path} cannot be loaded ({type(error).__name__}); check module-path"
        ) from None
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(module))
    return module


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
        with self._session() as session:
            found = [_stored(one, self._uri.object) for one in _objects(session, pkcs11.ObjectClass.PUBLIC_KEY)]
        versions = [one for one in found if one is not None]
        if not versions:
            raise StoreFailed(
                StoreCause.NO_SUCH_PATH, f"its token has no Ed25519 public key with the label {self._uri.object}"
            )
        if len({one.name for one in versions}) != len(versions):
            raise StoreFailed(
                StoreCause.UNUSABLE_ANSWER,
                "its token has two public keys with the same label; give each version its own",
            )
        return versions

    def sign(self, version: str, messages: Sequence[bytes]) -> list[bytes]:
        """Sign one after another. Raises: StoreFailed."""
        try:
            return self._sign(version, messages)
        except _SessionFailed:
            return self._sign(version, messages)  # in a new session: the HSM may have ended the old one

    def needless_rights(self) -> list[str]:
        """Return what the HSM would do with the key besides signing. Raises: StoreFailed."""
        wrong = []
        with self._session() as session:
            for key in _objects(session, pkcs11.ObjectClass.PRIVATE_KEY):
                if _version_in(key.label, self._uri.object) is None:
                    continue
                if key[pkcs11.Attribute.EXTRACTABLE]:
                    wrong.append(f"{key.label} can be extracted (CKA_EXTRACTABLE)")
                if not key[pkcs11.Attribute.SENSITIVE]:
                    wrong.append(f"{key.label} can be read (CKA_SENSITIVE is false)")
        return wrong

    def _sign(self, version: str, messages: Sequence[bytes]) -> list[bytes]:
        with self._session() as session:
            keys = self._own.keys
            if version not in keys:
                found = _objects(session, pkcs11.ObjectClass.PRIVATE_KEY, version)
                if len(found) != 1:
                    raise StoreFailed(
                        StoreCause.NO_SUCH_PATH,
                        f"its token has {len(found)} private keys with the label {version}, not one",
                    )
                keys[version] = found[0]
            return [bytes(keys[version].sign(one, mechanism=pkcs11.Mechanism.EDDSA)) for one in messages]

    @contextmanager
    def _session(self) -> Iterator[Any]:
        """Use the session of this thread; after a failure it is closed, and the next use opens another one."""
        try:
            if getattr(self._own, "session", None) is None:
                self._own.keys, self._own.session = {}, self._open()
            yield self._own.session
        except StoreFailed:
            raise
        except (pkcs11.PKCS11Error, OSError) as error:
            self._forget()
            raise _SessionFailed(StoreCause.UNREACHABLE, _cause(error)) from None

    def _open(self) -> Any:
        """Open a session for this thread. Another session holds the login, which all sessions share."""
        module = _load(str(self._uri.module))
        with module.lock:
            token = self._token(module)
            if self._uri.pin_file is not None and not _is_logged_in(module, self._uri.token):
                pin = self._read_pin(self._uri.pin_file)
                if pin == module.refused.get(self._uri.token):
                    raise StoreFailed(StoreCause.LOGIN, _WRONG_PIN)  # a token locks itself after some tries
                try:
                    module.logins[self._uri.token] = token.open(user_pin=pin)
                except pkcs11.PinIncorrect:
                    module.refused[self._uri.token] = pin
                    raise StoreFailed(StoreCause.LOGIN, _WRONG_PIN) from None
            return token.open()

    def _token(self, module: _Module) -> Any:
        found = []
        for slot in module.get_slots(token_present=True):
            try:
                token = slot.get_token()
            except pkcs11.PKCS11Error:
                continue  # another token, which is broken
            serial = token.serial.decode("ascii", "replace").strip()
            if token.label == self._uri.token and self._uri.serial in ("", serial):
                found.append(token)
        if len(found) != 1:
            raise StoreFailed(
                StoreCause.NO_SUCH_PATH, f"its module shows {len(found)} tokens of this name and serial, not one"
            )
        return found[0]

    def _forget(self) -> None:
        session, self._own.session, self._own.keys = getattr(self._own, "session", None), None, {}
        try:
            if session is not None:
                session.close()
        except pkcs11.PKCS11Error:
            pass  # it is gone already


def _is_logged_in(module: _Module, token: str) -> bool:
    """Whether the session with the login is alive: an HSM that restarted knows none."""
    login = module.logins.get(token)
    try:
        if login is not None:
            login.generate_random(64)
    except _SESSION_ENDED:
        del module.logins[token]
        return False
    except pkcs11.PKCS11Error:
        pass  # a token may have no random numbers
    return login is not None


def _objects(session: Any, kind: Any, label: str | None = None) -> list[Any]:
    wanted = {pkcs11.Attribute.CLASS: kind, pkcs11.Attribute.KEY_TYPE: pkcs11.KeyType.EC_EDWARDS}
    if label is not None:
        wanted[pkcs11.Attribute.LABEL] = label
    return list(session.get_objects(wanted))


def _stored(public: Any, name: str) -> StoredKey | None:
    """Return the version that a public key is; None for another key. Raises: StoreFailed."""
    named_at = _version_in(public.label, name)
    if named_at is None:
        return None
    point = bytes(public[pkcs11.Attribute.EC_POINT])
    try:
        # The point is wrapped in an OCTET STRING, in a BIT STRING, or not at all: the standard changed its mind.
        key = VerifyingKey(point[-_POINT_BYTES:])
    except KeyRefused as refusal:
        raise StoreFailed(StoreCause.UNUSABLE_ANSWER, str(refusal)) from None
    return StoredKey(name=public.label, public=key, order=named_at, named_at=named_at or None)


def _version_in(label: str, name: str) -> float | None:
    """Return the activation time in a label, 0 without one; None if the label is of another key."""
    if label == name:
        return 0.0
    return time_in_name(label.removeprefix(f"{name}@")) if label.startswith(f"{name}@") else None


def _cause(error: Exception) -> str:
    """Return the name of what went wrong. The library's own texts are empty, or quote what it was given."""
    return f"PKCS#11 failed ({type(error).__name__})"
