"""A PKCS#11 module of this process: initialized for several threads, with its sessions and its logins.

A process logs in to a token once, for all its sessions there. So each new session looks whether the login is still
there: an HSM may end it with or without the sessions. pkcs11.py says what is done in a session.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pkcs11
from pkcs11 import _pkcs11

from gateway.core.secret import SecretRefused
from gateway.keys.signers.pkcs11_uri import Pkcs11Uri
from gateway.keys.sources.store_failure import StoreCause, StoreFailed

READ_PIN = Callable[[Path], str]
_INITIALIZE, _FINALIZE, _GET_SESSION_INFO, _LOGIN = 0, 1, 15, 18
"""Places in the list of functions, which every version of the standard begins alike."""
_OS_LOCKING = 2  # CKF_OS_LOCKING_OK
_INITIALIZED = (0, 0x191)  # CKR_OK, CKR_CRYPTOKI_ALREADY_INITIALIZED
_ONE_THREAD = (0x9, 0xA)  # CKR_NEED_TO_CREATE_THREADS, CKR_CANT_LOCK
_USER = 1  # CKU_USER
_USER_STATES = (1, 3)  # CKS_RO_USER_FUNCTIONS, CKS_RW_USER_FUNCTIONS
_LOGGED_IN = (0, 0x100)  # CKR_OK, CKR_USER_ALREADY_LOGGED_IN
_WRONG_PINS = (0xA0, 0xA1, 0xA2)  # CKR_PIN_INCORRECT, CKR_PIN_INVALID, CKR_PIN_LEN_RANGE
_WRONG_PIN = "its token refuses the PIN; correct the file of pin-source (the same PIN is not tried again)"
_UNUSABLE_PINS = {
    0xA3: "the PIN of its token has expired; set a new one in the token and in the file of pin-source",
    0xA4: "the PIN of its token is locked after wrong tries; let the security officer of the token set it again",
    0x102: "its token has no PIN yet; let the security officer of the token set one",
}


class _InitializeArguments(ctypes.Structure):
    """CK_C_INITIALIZE_ARGS: no callbacks, the system's locks."""

    _fields_ = (("callbacks", ctypes.c_void_p * 4), ("flags", ctypes.c_ulong), ("reserved", ctypes.c_void_p))


class _SessionInfo(ctypes.Structure):
    """CK_SESSION_INFO."""

    _fields_ = tuple((name, ctypes.c_ulong) for name in ("slot", "state", "flags", "device_error"))


class _FunctionList(ctypes.Structure):
    """The begin of CK_FUNCTION_LIST."""

    _fields_ = (("version", ctypes.c_ubyte * 2), ("functions", ctypes.c_void_p * (_LOGIN + 1)))


class Module(_pkcs11.lib):
    """A module that several threads may call: the library's own `initialize` declares that only one thread does.

    `refused` holds the PINs that tokens refused, each with its token; `begun` counts how often the module was
    initialized. A token may hang in what opens a session, so `_opening` is held there, and `_lock` is not: threads with
    a session go on.
    """

    def __init__(self, path: str) -> None:
        """Load and initialize. Raises: StoreFailed, PKCS11Error."""
        self._functions = _functions(path)
        super().__init__(path)
        self.refused: set[tuple[str, str]] = set()
        self.begun = 1
        self._opening = threading.Lock()
        self._lock = threading.Lock()
        self._users = 0
        self._tokens: set[str] = set()

    def initialize(self) -> None:
        """Declare that several threads use the module. Raises: StoreFailed."""
        result = self._call(_INITIALIZE, ctypes.byref(_InitializeArguments(flags=_OS_LOCKING)))
        if result not in _INITIALIZED:
            problem = "cannot be used by several threads" if result in _ONE_THREAD else "does not begin"
            raise StoreFailed(StoreCause.UNREACHABLE, f"its module {problem} (C_Initialize returned {result:#x})")

    @contextmanager
    def use(self) -> Iterator[int]:
        """Hold the module while a thread is in it. Returns: how often it was begun; older sessions are gone."""
        with self._lock:
            self._users += 1
        try:
            yield self.begun
        finally:
            with self._lock:
                self._users -= 1

    def open_session(self, uri: Pkcs11Uri, read_pin: READ_PIN) -> Any:
        """Open a session that may use the private key; in `use`. Raises: StoreFailed, PKCS11Error."""
        with self._opening:
            try:
                session = _token(self, uri).open()
            except (StoreFailed, pkcs11.PKCS11Error):
                if not self._begin_again(uri.token):
                    raise
                session = _token(self, uri).open()
            self._tokens.add(uri.token)
            try:
                if uri.pin_file is not None and not self._is_logged_in(session):
                    self._log_in(session, uri.token, uri.pin_file, read_pin)
            except BaseException:
                close(session)
                raise
            return session

    def _begin_again(self, token: str) -> bool:
        """Some modules see a token that was away only after this. It ends all sessions, whether it works or not.

        Returns: False if another thread is in the module, or another token has sessions. Raises: StoreFailed.
        """
        with self._lock:
            if self._users > 1 or not self._tokens <= {token}:
                return False
            self._call(_FINALIZE, None)
            self.begun += 1
            self._tokens.clear()
            self.initialize()
            return True

    def _is_logged_in(self, session: Any) -> bool:
        info = _SessionInfo()
        result = self._call(_GET_SESSION_INFO, ctypes.c_ulong(session.handle), ctypes.byref(info))
        return result == 0 and info.state in _USER_STATES

    def _log_in(self, session: Any, token: str, pin_file: Path, read_pin: READ_PIN) -> None:
        try:
            pin = read_pin(pin_file)
        except SecretRefused as refusal:
            raise StoreFailed(StoreCause.LOGIN, f"pin-source: {refusal}") from None
        if (token, pin) in self.refused:
            raise StoreFailed(StoreCause.LOGIN, _WRONG_PIN)  # a token locks itself after some tries
        text = pin.encode()
        result = self._call(
            _LOGIN, ctypes.c_ulong(session.handle), ctypes.c_ulong(_USER), text, ctypes.c_ulong(len(text))
        )
        if result in _WRONG_PINS:
            self.refused.add((token, pin))
            raise StoreFailed(StoreCause.LOGIN, _WRONG_PIN)
        if result not in _LOGGED_IN:
            problem = _UNUSABLE_PINS.get(result, f"its token allows no login (C_Login returned {result:#x})")
            raise StoreFailed(StoreCause.LOGIN, problem)
        if result == 0:
            self.refused = {one for one in self.refused if one[0] != token}  # the token counts from zero again

    def _call(self, place: int, *arguments: Any) -> int:
        """Call a function of the module that the library does not offer in the form that is needed."""
        function = ctypes.CFUNCTYPE(ctypes.c_ulong)(self._functions[place])
        return int(function(*arguments))


_loaded: dict[str, Module] = {}
_loading = threading.Lock()


def load(path: str) -> Module:
    """Return the module, one for all paths to its file: each would end the sessions of the others. Raises: StoreFailed.

    A process never unloads it: its threads may be in it.
    """
    module = _loaded.get(path)
    if module is None:
        with _loading:
            file = os.path.realpath(path)
            module = _loaded[path] = _loaded[file] = _loaded.get(file) or _load(file)
    return module


def _load(path: str) -> Module:
    try:
        module = Module(path)
    except (pkcs11.PKCS11Error, OSError, AttributeError) as error:
        raise StoreFailed(
            StoreCause.NOT_INSTALLED, f"its module {path} cannot be loaded ({type(error).__name__}); check module-path"
        ) from None
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(module))
    return module


def close(session: Any) -> None:
    """Close a session, which may be gone already."""
    try:
        session.close()
    except pkcs11.PKCS11Error:
        pass


def _functions(path: str) -> Any:
    """Return the addresses of the first functions. Many modules export no more than C_GetFunctionList."""
    listed = ctypes.POINTER(_FunctionList)()
    result = ctypes.CDLL(path).C_GetFunctionList(ctypes.byref(listed))
    if result:
        raise StoreFailed(StoreCause.NOT_INSTALLED, f"its module {path} lists no functions; check module-path")
    return listed.contents.functions


def _token(module: Module, uri: Pkcs11Uri) -> Any:
    found = []
    for slot in module.get_slots(token_present=True):
        try:
            token = slot.get_token()
        except (pkcs11.PKCS11Error, UnicodeDecodeError):
            continue  # another token, which is broken or whose label is no text
        serial = token.serial.decode("ascii", "replace").strip()
        if token.label == uri.token and uri.serial in ("", serial):
            found.append(token)
    if len(found) != 1:
        raise StoreFailed(
            StoreCause.NO_SUCH_PATH, f"its module shows {len(found)} tokens of this name and serial, not one"
        )
    return found[0]
