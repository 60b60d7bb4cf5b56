"""What a file or a variable with a secret means, and what is refused before anything is signed with it."""

from __future__ import annotations

import re

import pytest

from gateway.core.secret import SecretRefused
from gateway.core.secret_text import in_quotes, secret_meant

VALUE = b"abc-DEF_123/4+5=="
PEM = b"-----BEGIN PRIVATE KEY-----\nMC4CAQ==\n-----END PRIVATE KEY-----\n"


@pytest.mark.parametrize(
    ("content", "secret"),
    [
        (VALUE, VALUE),
        (VALUE + b"\n", VALUE),
        (VALUE + b"\r\n", VALUE),
        (b"a b", b"a b"),
        (b"QUJDREVG=", b"QUJDREVG="),
        ("pässwort".encode(), "pässwort".encode()),
        (PEM + b"\n\n", PEM + b"\n\n"),
        (PEM.replace(b"\n", b"\\n"), PEM),
        (PEM.replace(b"\n", b"\\r\\n"), PEM),
    ],
    ids=["plain", "line end", "crlf", "blank inside", "base64", "umlaut", "pem", "escaped pem", "escaped crlf pem"],
)
def test_what_is_understood(content: bytes, secret: bytes) -> None:
    """One line end after the value, and the two characters for one in a PEM."""
    assert secret_meant(content) == secret


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"\xef\xbb\xbf" + VALUE, "byte-order mark"),
        (VALUE.decode().encode("utf-16"), "UTF-16"),
        (VALUE.decode().encode("utf-16-be"), "NUL"),
        (VALUE + b"\0", "NUL"),
        (VALUE + b"\n\n", "more than one line end"),
        (VALUE + b"\r\n\r\n", "more than one line end"),
        (b" " + VALUE, "blank"),
        (VALUE + b"\t\n", "blank"),
        (VALUE + "\u00a0".encode(), "blank"),
        (VALUE + "\u200b".encode(), "U+200B"),
        (VALUE[:3] + b"\x1b" + VALUE[3:], "U+001B"),
        (b'"' + VALUE + b'"', "quotes"),
        (b"'" + VALUE + b"'\n", "quotes"),
        ("\u201c".encode() + VALUE + "\u201d".encode(), "quotes"),
        ("\u201e".encode() + VALUE + b'"', "quotes"),
        (b'"' + PEM + b'"', "quotes"),
        (b"export HMAC=" + VALUE, "assignment"),
        (b"INGESTION_HMAC_SECRET=" + VALUE, "assignment"),
        (b"INGESTION_HMAC_SECRET: " + VALUE, "assignment"),
        (b'{"hmac": "' + VALUE + b'"}\n', "JSON object"),
        (VALUE + b"\\n", "two characters"),
        (VALUE + b"\\r\\n\n", "two characters"),
        (VALUE[:3] + "\u00a0".encode() + VALUE[3:], "U+00A0"),
        (b"\xff" + VALUE, "UTF-8"),
    ],
    ids=[
        *("bom", "utf-16", "utf-16 without a mark", "nul", "two line ends", "two crlf", "leading blank", "tab"),
        *("no-break space", "zero width", "escape", "double quotes", "single quotes", "typographic quotes"),
        *("one typographic quote", "quoted pem", "export", "assignment", "yaml", "json", "escaped line end"),
        *("escaped crlf", "no-break space inside", "latin-1"),
    ],
)
def test_what_is_refused_with_what_was_found(content: bytes, found: str) -> None:
    """Phoenix would answer 401 and give no reason. The message shows nothing of the secret."""
    with pytest.raises(SecretRefused, match=re.escape(found)) as refused:
        secret_meant(content)
    assert "abc-DEF" not in str(refused.value)


@pytest.mark.parametrize(("text", "quoted"), [('"a"', True), ("'a'", True), ("a", False), ('"', False), ('a"', False)])
def test_quotes_count_on_both_sides(text: str, quoted: bool) -> None:
    """One at an end may belong to the value."""
    assert in_quotes(text) is quoted
