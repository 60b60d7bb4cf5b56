"""Build the strings to sign: gamification request, gamification socket, operator request.

hmac_sha256.py and ed25519.py sign them; the transport sends exactly these parts.
Source: gamification.md 1.4 and 3.1; prediction.md 3.1 and 6.5.
"""

from __future__ import annotations

import re

from gateway.core.encoding import sha256_hex
from gateway.core.types import Environment, OperatorCode, UnixSeconds

_METHOD = re.compile(r"[A-Z]{1,16}")
# Printable ASCII without space, "?" and "#": a path as it is sent.
_PATH = re.compile(r"/[!\"$->@-~]*")
_UNRESERVED = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
_ENCODED = tuple(chr(byte) if byte in _UNRESERVED else f"%{byte:02X}" for byte in range(256))
_PLAIN_SEGMENT = re.compile(r"\.*[A-Za-z0-9\-_~][A-Za-z0-9\-._~]*")
_BREAKS_A_PART = re.compile(r"[\x00\r\n]")


class InvalidCanonicalPart(ValueError):
    """A part could be read as another part, or would be signed in another form than it is sent."""


def gamification_request(method: str, path: str, at: UnixSeconds, body: bytes) -> bytes:
    """Return the bytes that a tenant signs for one gamification request.

    Args: `path` starts with "/", percent-encoded as sent, without host and query; `body` exactly as sent, b"" for no
    body (the line feed before it is still signed).
    Raises: InvalidCanonicalPart.
    """
    return f"{_method(method)}\n{_path(path)}\n{_seconds(at)}\n".encode("ascii") + body


def gamification_socket(path: str, at: UnixSeconds) -> bytes:
    """Return the bytes that a tenant signs to open the live socket of a board: three parts, no body.

    Raises: InvalidCanonicalPart.
    """
    return f"WS\n{_path(path)}\n{_seconds(at)}".encode("ascii")


def operator_request(
    *, operator_code: OperatorCode, environment: Environment, at: UnixSeconds, method: str, path: str, body: bytes
) -> bytes:
    """Return the bytes that an operator signs for one Operator API request: six parts.

    Args: `path` with the prefix /operator/api and without the query, which is not signed.
    Raises: InvalidCanonicalPart.
    """
    parts = (_code(operator_code), environment.value, _seconds(at), _method(method), _path(path), sha256_hex(body))
    return "\n".join(parts).encode("utf-8")


def operator_request_five(
    *, operator_code: OperatorCode, at: UnixSeconds, method: str, path: str, body: bytes
) -> bytes:
    """Return the bytes of the older signature version: five parts, without the environment.

    Raises: InvalidCanonicalPart.
    """
    parts = (_code(operator_code), _seconds(at), _method(method), _path(path), sha256_hex(body))
    return "\n".join(parts).encode("utf-8")


def encode_segment(raw: str) -> str:
    """Return `raw` as one path segment: all characters except the unreserved ones are percent-encoded.

    A segment of dots has its dots encoded too: a server that normalises paths treats "." and ".." as steps.
    Raises: InvalidCanonicalPart for an empty segment, or for text that UTF-8 cannot encode.
    """
    if _PLAIN_SEGMENT.fullmatch(raw) is not None:
        return raw  # as most ids are: they stay what they are
    if not raw:
        raise InvalidCanonicalPart("a path segment must not be empty")
    try:
        octets = raw.encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidCanonicalPart("a path segment must be text that UTF-8 can encode") from None
    encoded = "".join([_ENCODED[octet] for octet in octets])
    return encoded if encoded.strip(".") else encoded.replace(".", "%2E")


def _method(method: str) -> str:
    if _METHOD.fullmatch(method) is None:
        raise InvalidCanonicalPart("the method must be upper-case letters")
    return method


def _path(path: str) -> str:
    if _PATH.fullmatch(path) is None:
        raise InvalidCanonicalPart("the path must start with '/' and be percent-encoded as sent, without a query")
    return path


def _seconds(at: UnixSeconds) -> str:
    # A bool or float would be printed, and signed, in another form than whole seconds.
    if type(at) is not int or at < 0:
        raise InvalidCanonicalPart("the timestamp must be whole seconds since 1970")
    return str(at)


def _code(code: OperatorCode) -> str:
    if not code or _BREAKS_A_PART.search(code) is not None:
        raise InvalidCanonicalPart("the operator code must not be empty or hold a line break or NUL")
    return code
