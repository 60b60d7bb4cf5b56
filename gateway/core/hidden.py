"""Bytes and texts that hide their value in `repr`, so that no traceback with local variables shows a secret.

gateway/keys loads and owns the secrets.
"""

from __future__ import annotations

from typing import NoReturn

_SHOWN = "(hidden)"


class HiddenBytes(bytes):
    """Bytes for libraries that need bytes. A slice or a concatenation is a plain `bytes` object again."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"HiddenBytes{_SHOWN}"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return f"HiddenBytes{_SHOWN}"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a secret is not pickled or copied; pass the object itself")


class HiddenText(str):
    """A text for headers: an f-string contains its value, because headers are built that way; its repr hides it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"HiddenText{_SHOWN}"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a secret is not pickled or copied; pass the object itself")
