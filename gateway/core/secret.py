"""A secret value that is hidden from logs, tracebacks and copies.

The key ring decides what a secret is used for; `keys/sources/secret_files.py` reads it from its file.
"""

from __future__ import annotations

import hmac
from typing import NoReturn, Self

from gateway.core.hidden import HiddenBytes, HiddenText


class SecretRefused(ValueError):
    """A secret cannot be used. The message says why and what to do, and contains nothing of the secret."""


class Secret:
    """Bytes that repr, format, pickle and copy do not reveal."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        """Keep these bytes. Raises: SecretRefused if there are none."""
        if not value:
            raise SecretRefused("is empty; give it a value or remove the setting")
        self._value = HiddenBytes(value)

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Keep the UTF-8 bytes of a text, without the one line end that editors add.

        Raises: SecretRefused if nothing is left, or if the text is not valid Unicode.
        """
        try:
            return cls(without_line_end(text.encode("utf-8")))
        except UnicodeEncodeError:
            raise SecretRefused("is not valid UTF-8 text; write it again") from None

    def reveal(self) -> bytes:
        """Return the bytes as HiddenBytes. Call this where the bytes are used, and keep no copy."""
        return self._value

    def reveal_text(self) -> str:
        """Return the bytes as text, for headers. Raises: SecretRefused if they are not UTF-8."""
        try:
            return HiddenText(self._value.decode("utf-8"))
        except UnicodeDecodeError:
            raise SecretRefused("is not valid UTF-8 text; write it again") from None

    def __eq__(self, other: object) -> bool:
        """Compare in constant time."""
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value, other._value)

    # A hash in a dumped table would show which secrets are equal.
    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return "Secret(hidden)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return "Secret(hidden)"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a secret is not pickled or copied; pass the object itself")


def without_line_end(content: bytes) -> bytes:
    """Return the content without the one line end that editors add."""
    return content.removesuffix(b"\n").removesuffix(b"\r")
