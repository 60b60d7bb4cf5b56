"""Arithmetic of edwards25519, used only to check the encoding of a public key when it is loaded.

The library signs and verifies: this code is slow and not constant-time, and works on public points only.
Source: RFC 8032, 5.1 and 5.1.3.
"""

from __future__ import annotations

import enum

_P = 2**255 - 19
_D = -121665 * pow(121666, -1, _P) % _P
_SQRT_OF_MINUS_ONE = pow(2, (_P - 1) // 4, _P)


class PointFault(enum.Enum):
    """Why 32 bytes are not an acceptable public key. The value is a text for operators."""

    NOT_CANONICAL = "its encoding of a curve point is not canonical"
    OFF_CURVE = "it is not a point of the curve"
    SMALL_ORDER = "it is a point of small order, so signatures can be forged"


def judge_point(raw: bytes) -> PointFault | None:
    """Return why 32 bytes must not be used as an Ed25519 public key, or None."""
    number = int.from_bytes(raw, "little")
    sign, y = number >> 255, number & (2**255 - 1)
    if y >= _P:
        return PointFault.NOT_CANONICAL
    x = _recover_x(y)
    if x is None:
        return PointFault.OFF_CURVE
    if x == 0 and sign == 1:
        return PointFault.NOT_CANONICAL
    # The cofactor of the curve is 8: three doublings map exactly the points of small order to (0, 1).
    for _ in range(3):
        x, y = _double(x, y)
    return PointFault.SMALL_ORDER if (x, y) == (0, 1) else None


def _recover_x(y: int) -> int | None:
    square = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    x = pow(square, (_P + 3) // 8, _P)
    if x * x % _P != square:
        x = x * _SQRT_OF_MINUS_ONE % _P
    return x if x * x % _P == square else None


def _double(x: int, y: int) -> tuple[int, int]:
    product = _D * x * x % _P * y * y % _P
    doubled_x = 2 * x * y * pow(1 + product, -1, _P) % _P
    doubled_y = (y * y + x * x) * pow(1 - product, -1, _P) % _P
    return doubled_x, doubled_y
