"""Reads the reference of a key in an HSM: a PKCS#11 URI (RFC 7512), such as

`pkcs11:token=phoenix;object=launch?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=/run/secrets/pin`.

A PIN in the URI itself is refused: the reference is shown, and the PIN is a secret.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

_KNOWN = ("token", "serial", "object", "module-path", "pin-source")
_EXAMPLE = "pkcs11:token=phoenix;object=launch?module-path=/usr/lib/module.so&pin-source=/run/secrets/pin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pkcs11Uri:
    """Which key, in which token, behind which module. `serial` "": any; `pin_file` None: the token asks for no PIN."""

    text: str
    token: str
    object: str
    module: Path
    serial: str = ""
    pin_file: Path | None = None


def parse_pkcs11(text: str) -> Pkcs11Uri:
    """Return the parts of the URI. Raises: ValueError that says what is wrong; it quotes no value."""
    scheme, _, rest = text.partition(":")
    if scheme != "pkcs11":
        raise ValueError(f"is no PKCS#11 URI; write {_EXAMPLE}")
    path, _, query = rest.partition("?")
    values: dict[str, str] = {}
    for pair in filter(None, [*path.split(";"), *query.split("&")]):
        name, equals, value = pair.partition("=")
        if name == "pin-value":
            raise ValueError("holds a PIN, which is a secret; put it into a file and name the file with pin-source")
        if name not in _KNOWN or not equals or not value:
            raise ValueError(f"has a part that is none of {', '.join(_KNOWN)}; write {_EXAMPLE}")
        if name in values:
            raise ValueError(f"names {name} twice")
        values[name] = unquote(value)
    missing = [name for name in ("token", "object", "module-path") if name not in values]
    if missing:
        raise ValueError(f"does not name {' and '.join(missing)}; write {_EXAMPLE}")
    pin = values.get("pin-source", "").removeprefix("file://").removeprefix("file:")
    return Pkcs11Uri(
        text=text,
        token=values["token"],
        object=values["object"],
        module=Path(values["module-path"]),
        serial=values.get("serial", ""),
        pin_file=Path(pin) if pin else None,
    )
