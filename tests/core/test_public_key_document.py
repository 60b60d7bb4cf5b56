"""The public key in a document: what RFC 7468 allows around its block, and what leaves a doubt about the key."""

from __future__ import annotations

import pytest

from gateway.core.ed25519 import KeyRefused, find_verifying_key, generate_signing_key

KEY, PRIVATE = generate_signing_key()
OTHER, _ = generate_signing_key()
PEM = KEY.public.spki_pem


@pytest.mark.parametrize(
    "document",
    [
        PEM,
        b"# key 2026\n" + PEM,
        b"\xef\xbb\xbf" + PEM,
        PEM.replace(b"\n", b"\r\n"),
        PEM.replace(b"\n", b"\r"),
        PEM.rstrip(b"\n"),
        b"Issued by Phoenix\r\n\r\n" + PEM + b"valid until further notice\n",
        PEM + PEM,
        b"# -----BEGIN PUBLIC KEY-----\n# old\n# -----END PUBLIC KEY-----\n" + PEM,
        b"  " + PEM.replace(b"\n", b"\n  "),
    ],
    ids=[
        *("alone", "comment", "bom", "crlf", "cr", "no last line end", "text around", "twice", "old one commented out"),
        "indented",
    ],
)
def test_the_key_is_found(document: bytes) -> None:
    """Text, comments, a byte-order mark and any line ends are ignored."""
    assert find_verifying_key(document) == KEY.public


@pytest.mark.parametrize(
    ("document", "found"),
    [
        (PEM + OTHER.public.spki_pem, "two different keys"),
        (PEM + OTHER.public.spki_pem[:60], "cut off"),
        (PEM + PRIVATE, "private key"),
        (PEM[:60], "no whole PEM block"),
        (b"<html>502 Bad Gateway</html>", "no whole PEM block"),
        (b"", "no whole PEM block"),
        (PEM.decode().encode("utf-16"), "no whole PEM block"),
        (b"#" * 20_000 + b"\n" + PEM, "more than"),
    ],
    ids=["two keys", "second cut off", "private key too", "cut off", "web page", "empty", "utf-16", "too long"],
)
def test_a_doubt_is_refused(document: bytes, found: str) -> None:
    """The known key then stays in use. The message says what was found."""
    with pytest.raises(KeyRefused, match=found):
        find_verifying_key(document)
