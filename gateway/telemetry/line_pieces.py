"""Cut lines into pieces that a pipe takes whole: several processes write to one pipe, and no line may be torn."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

PIECE_BYTES = 4096
"""PIPE_BUF of Linux: a write of at most this size is never mixed with those of other processes."""


def pieces(lines: Iterable[bytes]) -> Iterator[tuple[bytes, int]]:
    """Yield the lines, joined up to PIECE_BYTES, with the number of lines in each piece. A longer line is a piece."""
    piece, count = b"", 0
    for line in lines:
        if piece and len(piece) + len(line) > PIECE_BYTES:
            yield piece, count
            piece, count = b"", 0
        piece += line
        count += 1
    if piece:
        yield piece, count
