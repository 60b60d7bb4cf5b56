"""Text forms of bytes: unpadded base64url, the strict form of a signature, hexadecimal digests.

Source: prediction.md 4.2 and 5.1 step 4.
"""

from __future__ import annotations

import base64
import hashlib
import re

from gateway.core.types import B64Url, HexStr

SIGNATURE_BYTES = 64

# 86 characters hold 516 bits. The last character carries two bits of the signature and four bits that must be zero;
# otherwise one signature would have sixteen spellings.
_SIGNATURE_TEXT = re.compile(r"[A-Za-z0-9_-]{85}[AQgw]")


class MalformedSignature(ValueError):
    """The text is not 86 characters of canonical unpadded base64url."""


def b64url_encode(raw: bytes) -> B64Url:
    """Return `raw` as base64url without padding."""
    return B64Url(base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii"))


def decode_signature(text: str) -> bytes:
    """Return the 64 bytes of a signature from its one accepted spelling.

    Raises: MalformedSignature; its message does not repeat the text.
    """
    if _SIGNATURE_TEXT.fullmatch(text) is None:
        raise MalformedSignature("a signature is 86 characters of unpadded base64url")
    return base64.urlsafe_b64decode(text + "==")


def sha256_hex(raw: bytes) -> HexStr:
    """Return the SHA-256 of `raw` in lower-case hexadecimal."""
    return HexStr(hashlib.sha256(raw).hexdigest())
