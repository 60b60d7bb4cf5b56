"""Page tokens: opaque, with a checksum against accidents and mixed-up tokens.

They grant nothing: whoever alters one can only ask for another page that he could ask for anyway.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from dataclasses import dataclass

from gateway.errors import FieldFault, InvalidField

_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class PageToken:
    """Where the next page begins: the board, its window (empty: unknown) and the zero-based offset."""

    leaderboard_id: str
    window_key: str
    offset: int


def encode_page_token(token: PageToken) -> str:
    """Return the token as base64url text."""
    body = json.dumps([_VERSION, token.leaderboard_id, token.window_key, token.offset], separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(zlib.crc32(body).to_bytes(4, "big") + body).decode().rstrip("=")


def decode_page_token(text: str) -> PageToken:
    """Return what `encode_page_token` put in. Raises: InvalidField for anything else."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        checksum, body = raw[:4], raw[4:]
        if zlib.crc32(body).to_bytes(4, "big") != checksum:
            raise ValueError("checksum")
        version, leaderboard_id, window_key, offset = json.loads(body)
        if version != _VERSION or not isinstance(leaderboard_id, str) or not isinstance(window_key, str):
            raise ValueError("members")
        if not isinstance(offset, int) or isinstance(offset, bool) or not 0 <= offset < 2**31:
            raise ValueError("offset")
    except (ValueError, TypeError, binascii.Error, RecursionError):
        fault = FieldFault(field="page_token", description="is not a token of this method; start again without one")
        raise InvalidField([fault]) from None
    return PageToken(leaderboard_id=leaderboard_id, window_key=window_key, offset=offset)
