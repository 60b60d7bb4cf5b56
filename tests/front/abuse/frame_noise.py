"""Frames that are almost right: good ones cut, doubled, mixed up and filled with noise."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

from bench.http2 import PREFACE, frame, grpc_message, request_headers, settings

PATHS = ("/t.T/Echo", "/t.T/Each", "/t.T/Stream", "/t.T/Early", "/t.T/Hang", "/t.T/Total", "/t.T/None")
_BREAKERS = (
    b"",
    b"\0",
    b"\xff",
    b"\xff\xff\xff\xff",
    b"\0\0\0\0",
    b"\x7f\xff\xff\xff",
    b"\x80",
    b"\xbe" * 50,
    b"PRI * ",
)


def _headers(chance: random.Random) -> bytes:
    further = chance.choice(
        ((), (("grpc-timeout", "30m"),), (("grpc-encoding", "gzip"),), (("connection", "x"),), (("X-Upper", "y"),))
    )
    return request_headers("front", chance.choice(PATHS), further)


_PAYLOADS: tuple[Callable[[random.Random], bytes], ...] = (
    lambda chance: grpc_message(chance.choice((b"", b"\n\0", b"\xff"))) * chance.choice((1, 1, 3)),
    _headers,
    lambda chance: struct.pack(">IB", chance.choice((0, 1, 3, 2**31)), chance.randrange(256)),
    lambda chance: struct.pack(">I", chance.randrange(16)),
    lambda chance: struct.pack(">HI", chance.randrange(10), chance.choice((0, 1, 65_535, 2**31 - 1, 2**32 - 1))),
    lambda chance: b"",
    lambda chance: chance.randbytes(8),
    lambda chance: struct.pack(">II", chance.choice((0, 1, 2**31 - 1)), chance.randrange(16)) + b"bye",
    lambda chance: struct.pack(">I", chance.choice((0, 1, 1000, 2**31 - 1, 2**31, 2**32 - 1))),
    _headers,
)
"""What a frame of each type holds, by the number of the type."""


def noise(chance: random.Random) -> bytes:
    """Draw what one connection sends."""
    stream = 1
    pieces = [PREFACE, settings({})] if chance.random() < 0.95 else [chance.randbytes(30)]
    for _ in range(chance.randint(1, 30)):
        kind = chance.choice((1, 1, 1, 0, 0, 3, 8, chance.randrange(10), chance.randrange(256)))
        if kind == 1 and chance.random() < 0.8:
            stream += 2
        named = chance.choice((stream, stream, stream, 0, 1, stream + 1, chance.randrange(2**31)))
        if kind in (4, 6, 7) and chance.random() < 0.8:
            named = 0
        flags = chance.choice((4, 4, 5, 1, 0, chance.randrange(256)))
        payload = _PAYLOADS[kind if kind < len(_PAYLOADS) and chance.random() < 0.9 else chance.randrange(10)](chance)
        piece = frame(kind, flags, named, payload)
        pieces.append(_broken(chance, piece) if chance.random() < 0.15 else piece)
    return b"".join(pieces)


def _broken(chance: random.Random, piece: bytes) -> bytes:
    at, until = sorted((chance.randint(0, len(piece)), chance.randint(0, len(piece))))
    match chance.randrange(4):
        case 0:
            return piece[:at] + chance.choice(_BREAKERS) + piece[until:]
        case 1:
            return piece[:at]
        case 2:
            return piece + piece[at:]
        case _:
            return piece[:at] + bytes((chance.randrange(256),)) + piece[at + 1 :]
