"""Ed25519 keys: load them strictly, sign, verify.

The cryptography package reads keys; libsodium uses them, because it takes half of OpenSSL's time. gateway/keys decides
where keys come from and which one is in use. A refusal says what to do and never shows key material.
Source: prediction.md 1.4 and 5.1.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import NoReturn

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)
from nacl.bindings import crypto_sign, crypto_sign_open, crypto_sign_seed_keypair, sodium_init
from nacl.exceptions import BadSignatureError

from gateway.core.curve import judge_point
from gateway.core.encoding import SIGNATURE_BYTES, b64url_encode, sha256_hex
from gateway.core.hidden import HiddenBytes
from gateway.core.types import KeyId

MAX_PEM_BYTES = 4096
MAX_DOCUMENT_BYTES = 16 * 1024

# RFC 8410 allows exactly one DER encoding of an Ed25519 SPKI: this prefix and then the 32 bytes of the point.
_SPKI_PREFIX = bytes.fromhex("302a300506032b6570032100")
_SPKI_BYTES = len(_SPKI_PREFIX) + 32
_PEM_BLOCK = re.compile(
    rb"\s*-----BEGIN ([A-Z0-9 ]{1,40})-----[ \t]*\r?\n([A-Za-z0-9+/=\r\n]+)-----END ([A-Z0-9 ]{1,40})-----\s*"
)
_FIRST_LINE = re.compile(rb"^[ \t]*-----BEGIN ([A-Z0-9 ]{1,40})-----", re.MULTILINE)
_WHOLE_BLOCK = re.compile(
    rb"^[ \t]*-----BEGIN ([A-Z0-9 ]{1,40})-----([A-Za-z0-9+/=\s]+)-----END ([A-Z0-9 ]{1,40})-----", re.MULTILINE
)
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# Selects libsodium's fastest code for this processor. Without this call, libsodium uses the portable code.
sodium_init()

_TEST_MESSAGE = b"phoenix-gateway: this key pair belongs together"


class KeyRefused(ValueError):
    """A key cannot be used. The message says why and what to do, and contains no key material."""


class VerifyingKey:
    """An Ed25519 public key whose point was checked. Immutable; two keys are equal when their points are equal."""

    __slots__ = ("key_id", "raw", "spki_pem")

    key_id: KeyId
    raw: bytes
    spki_pem: bytes

    def __init__(self, raw: bytes) -> None:
        """Take the 32 bytes of a public key. Raises: KeyRefused."""
        if len(raw) != 32:
            raise KeyRefused("The public key is refused: an Ed25519 key has 32 bytes.")
        fault = judge_point(raw)
        if fault is not None:
            raise KeyRefused(f"The public key is refused: {fault.value}. Use another key pair.")
        spki = _SPKI_PREFIX + raw
        self.raw = raw
        self.key_id = KeyId(sha256_hex(spki))
        self.spki_pem = b"-----BEGIN PUBLIC KEY-----\n" + base64.b64encode(spki) + b"\n-----END PUBLIC KEY-----\n"

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Tell whether `signature` (64 bytes) is a signature of this key over exactly `message`."""
        if len(signature) != SIGNATURE_BYTES:
            return False
        try:
            crypto_sign_open(signature + message, self.raw)
        except BadSignatureError:
            return False
        return True

    def jwk(self) -> dict[str, str]:
        """Return the key as a JSON Web Key (RFC 8037); `kid` is the key id."""
        return {
            "kty": "OKP",
            "crv": "Ed25519",
            "alg": "EdDSA",
            "use": "sig",
            "kid": self.key_id,
            "x": b64url_encode(self.raw),
        }

    def __eq__(self, other: object) -> bool:
        return isinstance(other, VerifyingKey) and other.raw == self.raw

    def __hash__(self) -> int:
        return hash(self.raw)

    def __repr__(self) -> str:
        return f"VerifyingKey(key_id={self.key_id!r})"


class SigningKey:
    """An Ed25519 private key that was tested against its public key. Its repr hides it; it cannot be pickled."""

    __slots__ = ("_secret", "public")

    public: VerifyingKey

    def __init__(self, seed: bytes, public: VerifyingKey) -> None:
        """Take the 32-byte private key and test that `public` verifies what it signs. Raises: KeyRefused."""
        self._secret = HiddenBytes(crypto_sign_seed_keypair(seed)[1])
        self.public = public
        if not public.verify(_TEST_MESSAGE, self.sign(_TEST_MESSAGE)):
            raise KeyRefused("The private key is refused: its public key does not verify what it signs.")

    @property
    def key_id(self) -> KeyId:
        """The id of the public key."""
        return self.public.key_id

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature over `message`."""
        return crypto_sign(message, self._secret)[:SIGNATURE_BYTES]

    def __repr__(self) -> str:
        return f"SigningKey(key_id={self.key_id!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a signing key cannot be copied or pickled; pass the object itself")


def load_verifying_key(spki_pem: bytes) -> VerifyingKey:
    """Return the key of one Ed25519 SPKI PEM block of at most 4 KiB.

    Raises: KeyRefused for anything else: several blocks, text around the block, another type of key, a point of small
    order, or a non-canonical encoding.
    """
    label, der = _pem_block(spki_pem, "public key")
    if label.endswith(b"PRIVATE KEY"):
        raise KeyRefused("The public key is refused: this is a private key. Use its public key (SPKI PEM).")
    if label != b"PUBLIC KEY":
        raise KeyRefused("The public key is refused: the PEM block must be 'PUBLIC KEY' (SPKI), not a certificate.")
    return verifying_key_of_der(der)


def verifying_key_of_der(der: bytes) -> VerifyingKey:
    """Return the key of an Ed25519 SPKI in DER. Raises: KeyRefused."""
    if len(der) != _SPKI_BYTES or not der.startswith(_SPKI_PREFIX):
        raise KeyRefused("The public key is refused: it is not an Ed25519 key (RSA and EC keys cannot be used).")
    return VerifyingKey(der[len(_SPKI_PREFIX) :])


def find_verifying_key(document: bytes) -> VerifyingKey:
    """Return the one Ed25519 public key in a document of at most 16 KiB that may hold text around its PEM block.

    As in RFC 7468, text and comments before and after the block are ignored. So are a byte-order mark, the kind of line
    ends (also as the two characters `\\n`), and a missing last one. The same key twice is one key.
    Raises: KeyRefused for two different keys, another kind of block, no block, or one that `load_verifying_key`
    refuses.
    """
    if len(document) > MAX_DOCUMENT_BYTES:
        raise KeyRefused(f"The public key is refused: its document has more than {MAX_DOCUMENT_BYTES} bytes.")
    text = document.removeprefix(_BYTE_ORDER_MARK).replace(b"\\r\\n", b"\n").replace(b"\\n", b"\n")
    text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    blocks = [
        b"-----BEGIN %b-----\n%b\n-----END %b-----" % (begin, b"\n".join(body.split()), end)
        for begin, body, end in _WHOLE_BLOCK.findall(text)
    ]
    if not blocks:
        raise KeyRefused("The public key is refused: there is no whole PEM block 'PUBLIC KEY' in what was read.")
    if len(blocks) != len(_FIRST_LINE.findall(text)):
        raise KeyRefused("The public key is refused: a PEM block is cut off or not base64.")
    found = {load_verifying_key(block) for block in blocks}
    if len(found) > 1:
        raise KeyRefused("The public key is refused: the document has two different keys. Leave only the current one.")
    return found.pop()


def load_signing_key(pkcs8_pem: bytes, *, expected: VerifyingKey | None = None) -> SigningKey:
    """Return the key of one unencrypted Ed25519 PKCS#8 PEM block of at most 4 KiB, after a test of the key pair.

    Args: `expected`: the public key that is registered elsewhere, if known; any other key is refused.
    Raises: KeyRefused.
    """
    label, der = _pem_block(pkcs8_pem, "private key")
    if label == b"ENCRYPTED PRIVATE KEY":
        raise KeyRefused(
            "The private key is refused: it is encrypted. Store it unencrypted; only the gateway may read the file."
        )
    if label.endswith(b"PUBLIC KEY"):
        raise KeyRefused("The private key is refused: this is a public key. Use the private key (PKCS#8 PEM).")
    if label != b"PRIVATE KEY":
        raise KeyRefused(
            "The private key is refused: the PEM block must be 'PRIVATE KEY' (PKCS#8) of an Ed25519 key. "
            "Make one with: openssl genpkey -algorithm ed25519"
        )
    # `from None`: the library's exception might quote the key.
    try:
        private = load_der_private_key(der, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise KeyRefused("The private key is refused: it cannot be read as a PKCS#8 key.") from None
    if not isinstance(private, Ed25519PrivateKey):
        raise KeyRefused(
            "The private key is refused: it is not an Ed25519 key (RSA and EC keys cannot be used). "
            "Make one with: openssl genpkey -algorithm ed25519"
        )
    key = _signing_key(private)
    if expected is not None and expected != key.public:
        raise KeyRefused("The private key is refused: its public key is not the expected one.")
    return key


def generate_signing_key() -> tuple[SigningKey, bytes]:
    """Return a new key and its PKCS#8 PEM, which is secret."""
    private = Ed25519PrivateKey.generate()
    return _signing_key(private), private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _signing_key(private: Ed25519PrivateKey) -> SigningKey:
    return SigningKey(private.private_bytes_raw(), VerifyingKey(private.public_key().public_bytes_raw()))


def _pem_block(pem: bytes, what: str) -> tuple[bytes, bytes]:
    """Return label and DER of the only PEM block. Raises: KeyRefused."""
    if len(pem) > MAX_PEM_BYTES:
        raise KeyRefused(f"The {what} is refused: it has more than {MAX_PEM_BYTES} bytes.")
    match = _PEM_BLOCK.fullmatch(pem)
    if match is None or match[1] != match[3]:
        raise KeyRefused(f"The {what} is refused: it must be exactly one PEM block with nothing around it.")
    try:
        return match[1], HiddenBytes(base64.b64decode(b"".join(match[2].split()), validate=True))
    except binascii.Error:
        raise KeyRefused(f"The {what} is refused: its PEM block is not base64.") from None
