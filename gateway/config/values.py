"""Checks the texts of settings: numbers, choices, addresses, URLs, files, secrets.

Each reader records a fault by the name of the setting and continues with a placeholder, so that all faults are found.
A configuration with faults is never returned, so placeholders are never used.
"""

from __future__ import annotations

import enum
import math
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from gateway.config import names
from gateway.config.faults import Faults
from gateway.config.model import is_loopback
from gateway.config.names import forms_of
from gateway.config.sources import Given, Scope
from gateway.core.secret import Secret, SecretRefused
from gateway.core.secret_reference import ReferenceRefused, Scheme, parse_reference
from gateway.core.secret_text import invisible_in, quote_at_an_end, secret_meant
from gateway.keys.sources.file_access import whoami
from gateway.keys.sources.secret_files import MAX_SECRET_FILE_BYTES, SecretSource, read_source
from gateway.keys.stores.secret_stores import SecretStores

E = TypeVar("E", bound=enum.Enum)

_BLANKS = " \t"
"""Around a value in the environment they belong to the line of an env file, such as `NAME= value`."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_HOST = re.compile(r"[A-Za-z0-9_.-]{1,253}|\[[0-9A-Fa-f:.]+\]")


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads the settings of one scope."""

    scope: Scope
    faults: Faults
    stores: SecretStores = field(default_factory=SecretStores)

    def given(self, name: str) -> bool:
        """Return whether the setting is set: directly, as a file or as a reference."""
        return any(self.scope.get(form) is not None for form in forms_of(name))

    def fault(self, name: str, problem: str, remedy: str = "") -> None:
        """Record a fault of the setting."""
        self.faults.add(self.scope.shown(name), problem, remedy)

    def optional_text(self, name: str, *, max_chars: int = 256) -> str | None:
        """Return a text of one line, without blanks around it; None if it is not set."""
        found = self.scope.get(name)
        if found is None:
            return None
        text = found.text.strip()
        if not text or len(text) > max_chars or _CONTROL.search(text):
            self.fault(name, f"is not one line of 1 to {max_chars} characters", "write it without control characters")
        elif (invisible := invisible_in(text)) is not None:
            self.fault(name, f"contains the invisible character {invisible}", "remove it")
        return text

    def optional_identifier(self, name: str) -> str | None:
        """Return an id that Phoenix gave out; None if it is not set. A quote at an end of it is a fault."""
        found = self.optional_text(name)
        if found is not None and quote_at_an_end(found):
            self.fault(name, "begins or ends with a quote, which no id does", "remove it")
        return found

    def identifier(self, name: str, *, what: str) -> str:
        """Return a required id that is part of paths at Phoenix. Args: `what` describes it in the fault."""
        found = self.optional_identifier(name)
        if found is None:
            self.fault(name, "is missing", f"set it to {what}")
        elif found in (".", "..") or "/" in found or "\\" in found:
            self.fault(name, "holds a slash or is only dots, which no id does", f"set it to {what}")
        return found or "-"

    def flag(self, name: str, default: bool) -> bool:
        """Return true or false."""
        found = self.scope.get(name)
        if found is None:
            return default
        text = found.text.strip().lower()
        if text not in ("true", "false", "1", "0"):
            self.fault(name, "is neither true nor false")
        return text in ("true", "1")

    def seconds(self, name: str, default: float, *, may_be_zero: bool = False) -> float:
        """Return a span in seconds, above zero unless it may be zero, and at most a day."""
        found = self.scope.get(name)
        if found is None:
            return default
        try:
            value = float(found.text)
        except ValueError:
            value = math.nan
        if not (0 < value <= 86_400 or (may_be_zero and value == 0)):
            least = "from 0 to" if may_be_zero else "above 0 and at most"
            self.fault(name, f"is not a number of seconds {least} 86400", f"the default is {default:g}")
            return default
        return value

    def share(self, name: str, default: float) -> float:
        """Return a number from 0 to 1."""
        found = self.scope.get(name)
        if found is None:
            return default
        text = found.text.strip()
        if not re.fullmatch(r"[01]|[01]?\.[0-9]{1,12}", text) or float(text) > 1:
            self.fault(name, "is not a number from 0 to 1, such as 0.01", f"the default is {default:g}")
            return default
        return float(text)

    def whole(self, name: str, default: int, *, least: int, most: int) -> int:
        """Return a whole number within bounds."""
        found = self.scope.get(name)
        if found is None:
            return default
        text = found.text.strip()
        if not re.fullmatch(r"[0-9]{1,9}", text) or not least <= int(text) <= most:
            self.fault(name, f"is not a whole number from {least} to {most}", f"the default is {default}")
            return default
        return int(text)

    def choice(self, name: str, default: E | None, kind: type[E]) -> E:
        """Return the member that the text names. Without a default it is required."""
        values = [str(member.value) for member in kind]
        found = self.scope.get(name)
        if found is None and default is not None:
            return default
        if found is None:
            self.fault(name, "is missing", f"set it to {' or '.join(values)}")
        elif found.text.strip() in values:
            return kind(found.text.strip())
        else:
            self.fault(name, "has an unknown value", f"set it to {' or '.join(values)}")
        return next(iter(kind))

    def base_url(self, name: str, *, default: str | None = None, scheme: str = "https", path: bool = False) -> str:
        """Return scheme and host of an upstream, without a slash at the end.

        Plaintext is refused off loopback. `path`: the URL may have a path, which is dropped.
        """
        found = self.scope.get(name)
        if found is None and default is not None:
            return default
        if found is None:
            self.fault(name, "is missing", f"set it to Phoenix's {scheme}:// address")
            return f"{scheme}://-"
        plain = {"https": "http", "wss": "ws"}[scheme]
        try:
            parts = urlsplit(found.text.strip())
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        host = parts.hostname or ""
        bracketed = f"[{host}]" if ":" in host else host
        whole = f"{parts.scheme}://{bracketed}" + (f":{port}" if port is not None else "")
        if parts.scheme not in (scheme, plain) or not _HOST.fullmatch(bracketed) or port == 0:
            self.fault(name, f"is not a URL that begins with {scheme}:// and names a host")
        elif parts.username is not None or parts.password is not None:
            self.fault(name, "holds a user name or password", "remove them; the gateway signs its requests")
        elif parts.query or parts.fragment or (parts.path not in ("", "/") and not path):
            self.fault(name, "holds more than scheme, host and port", "remove what follows them")
        elif parts.scheme == plain and not is_loopback(host):
            self.fault(name, f"is plaintext ({plain}://) to another machine", f"use {scheme}://")
        return whole

    def file(self, name: str) -> Path | None:
        """Return the path of a readable file; None if it is not set."""
        found = self.scope.get(name)
        if found is None:
            return None
        path = self._path(found)
        if path is None:
            return None
        try:
            if not stat.S_ISREG(path.stat().st_mode):  # reading a pipe would wait for a writer, and empty it
                self.fault(name, "its path is not a regular file", "set it to the file that contains the value")
                return None
            with path.open("rb") as stream:
                stream.read(1)
        except OSError as error:
            self.fault(name, f"its file cannot be read ({error.strerror})", f"check the path and its owner; {whoami()}")
            return None
        return path

    def secret_source(self, name: str, *, required_for: str | None = None) -> SecretSource | None:
        """Return the source of a secret. Records a fault if a required one is not set, or its store gives none.

        A file is not read.
        """
        plain, file, reference = (self.scope.get(form) for form in forms_of(name))
        given = [one for one in (reference, file, plain) if one is not None]
        for other in given[1:]:
            self.faults.add(other.setting, f"is set, and so is {given[0].setting}", "set one of the two")
        if reference is not None:
            return self._stored(reference, names.schemes_of(name))
        if file is not None:
            path = self._path(file)
            return None if path is None else SecretSource(setting=file.setting, path=path)
        if plain is None:
            if required_for is not None:
                self.fault(name, f"is missing ({required_for})", f"set it, or {self.scope.shown(name + '_FILE')}")
            return None
        try:
            content = plain.text.strip(_BLANKS).encode("utf-8")
            return SecretSource(setting=plain.setting, value=Secret(secret_meant(content)))
        except SecretRefused as refusal:
            self.fault(name, str(refusal))
        except UnicodeEncodeError:
            self.fault(name, "is not valid UTF-8 text", "write it again")
        return None

    def secret(self, name: str) -> Secret | None:
        """Read a secret now and return it; None if it is not set or unusable."""
        source = self.secret_source(name)
        if source is None:
            return None
        try:
            return read_source(source)
        except SecretRefused as refusal:
            self.faults.add(source.setting, str(refusal))
            return None

    def _stored(self, found: Given, schemes: Sequence[Scheme]) -> SecretSource | None:
        """Read the secret that a reference names, from its store."""
        try:
            reference = parse_reference(found.text, schemes)
            if reference.scheme is Scheme.FILE:
                return SecretSource(setting=found.setting, path=found.folder / Path(reference.path.strip()))
            return SecretSource(setting=found.setting, stored=self.stores.stored(reference))
        except ReferenceRefused as refused:
            self.faults.add(found.setting, refused.problem, refused.remedy)
        except SecretRefused as refusal:
            problem, _, remedy = str(refusal).partition("; ")
            self.faults.add(found.setting, f"{found.text.strip()}: {problem}", remedy)
        return None

    def public_bytes(self, name: str) -> bytes | None:
        """Return the bytes of a setting that is not secret and may be in a file; None if it is not set."""
        plain, file = self.scope.get(name), self.scope.get(f"{name}_FILE")
        if plain is not None and file is not None:
            self.fault(name, f"is set, and so is {file.setting}", "set one of the two")
        if plain is not None:
            return plain.text.encode("utf-8", "surrogateescape")
        path = self.file(f"{name}_FILE")
        if path is None:
            return None
        with path.open("rb") as stream:
            return stream.read(MAX_SECRET_FILE_BYTES)

    def _path(self, found: Given) -> Path | None:
        if "\0" in found.text:  # TOML allows it; the system's calls would raise ValueError
            self.faults.add(found.setting, "is no path", "name a file")
            return None
        return found.folder / Path(found.text.strip())
