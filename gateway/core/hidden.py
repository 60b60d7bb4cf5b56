"""Bytes and texts that work as such and show nothing of themselves: in no repr, so in no traceback's locals.

Where secrets come from and who holds them is the keys room's business. Source: issue 8, point 4.
"""

from __future__ import annotations

from typing import NoReturn

_SHOWN = "(hidden)"


class HiddenBytes(bytes):
    """Bytes for libraries that want bytes. Whatever is made of them (a slice, a sum) is plain again."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"HiddenBytes{_SHOWN}"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return f"HiddenBytes{_SHOWN}"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a secret is not pickled or copied; pass the object itself")


class HiddenText(str):
    """A text for headers: it goes into an f-string as it is, since headers are made so, and hides in a repr."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"HiddenText{_SHOWN}"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a secret is not pickled or copied; pass the object itself")
