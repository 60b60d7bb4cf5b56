"""Page tokens: opaque texts with a checksum that detects damaged and mixed-up tokens.

A token grants nothing. Whoever changes one can only ask for a page that they may ask for anyway.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from dataclasses import dataclass

from gateway.errors import FieldFault, InvalidField

_VERSION = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class PageToken:
    """Where the next page begins.

    `of`: the method; `tenant_id`, `leaderboard_id`: what it lists. `place`: what must not change between pages, such as
    the window (empty: unknown), the time of the snapshot, or the order of a list. `offset`: zero-based. `after`: the
    last element of the previous page, for lists that continue after an element instead of at an offset.
    """

    of: str
    tenant_id: str
    leaderboard_id: str = ""
    place: str = ""
    offset: int = 0
    after: str = ""


def encode_page_token(token: PageToken) -> str:
    """Return the token as base64url text."""
    members = [_VERSION, token.of, token.tenant_id, token.leaderboard_id, token.place, token.offset, token.after]
    body = json.dumps(members, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(zlib.crc32(body).to_bytes(4, "big") + body).decode().rstrip("=")


def decode_page_token(text: str, *, of: str, tenant_id: str, leaderboard_id: str = "") -> PageToken:
    """Return the token that `encode_page_token` encoded.

    Raises: InvalidField for any other text, and for a token of another method, tenant or board.
    """
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        checksum, body = raw[:4], raw[4:]
        if zlib.crc32(body).to_bytes(4, "big") != checksum:
            raise ValueError("checksum")
        version, *texts, offset, after = json.loads(body)
        if version != _VERSION or len(texts) != 4 or not all(isinstance(member, str) for member in (*texts, after)):
            raise ValueError("members")
        if not isinstance(offset, int) or isinstance(offset, bool) or not 0 <= offset < 2**31:
            raise ValueError("offset")
    except (ValueError, TypeError, binascii.Error, RecursionError):
        raise token_fault("is not a token of this method") from None
    token = PageToken(
        of=texts[0], tenant_id=texts[1], leaderboard_id=texts[2], place=texts[3], offset=offset, after=after
    )
    if token.of != of:
        raise token_fault("is not a token of this method")
    if (token.tenant_id, token.leaderboard_id) != (tenant_id, leaderboard_id):
        raise token_fault("belongs to another leaderboard" if leaderboard_id else "belongs to another tenant")
    return token


def token_fault(description: str) -> InvalidField:
    """Return the refusal of a page token."""
    return InvalidField([FieldFault(field="page_token", description=f"{description}; start again without one")])
