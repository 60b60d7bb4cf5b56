"""Ed25519 against Wycheproof, and every key that must not be loaded."""

from __future__ import annotations

import base64
import copy
import pickle
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.ed25519 import (
    KeyRefused,
    SigningKey,
    VerifyingKey,
    generate_signing_key,
    load_signing_key,
    load_verifying_key,
)
from gateway.core.encoding import sha256_hex
from tests.core.vectors import signing, wycheproof

_WYCHEPROOF = list(wycheproof("ed25519"))
_KEYS = signing()["keys"]
_KEY, _PRIVATE_PEM = generate_signing_key()
_P = 2**255 - 19

# Every encoding of the eight points of small order: canonical ones, x = 0 with the sign bit, y >= p.
_LOW_ORDER = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000080",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
]


def _spki_pem(raw: bytes) -> bytes:
    der = bytes.fromhex("302a300506032b6570032100") + raw
    return b"-----BEGIN PUBLIC KEY-----\n" + base64.b64encode(der) + b"\n-----END PUBLIC KEY-----\n"


@pytest.mark.parametrize(("group", "test"), _WYCHEPROOF, ids=lambda v: f"tc{v['tcId']}" if "tcId" in v else "")
def test_signatures_verify_exactly_when_valid(group: dict[str, Any], test: dict[str, Any]) -> None:
    """Every valid signature is accepted and every invalid one refused, with the key from its PEM."""
    key = load_verifying_key(group["publicKeyPem"].encode())
    verified = key.verify(bytes.fromhex(test["msg"]), bytes.fromhex(test["sig"]))
    assert (verified, key.raw.hex()) == (test["result"] == "valid", group["publicKey"]["pk"])


def test_there_are_vectors_of_both_kinds() -> None:
    """The vector file has the vectors of the test above."""
    results = [test["result"] for _, test in _WYCHEPROOF]
    assert (results.count("valid"), results.count("invalid")) == (88, 63)


@given(st.binary(max_size=300), st.data())
def test_any_changed_bit_is_refused(message: bytes, data: st.DataObject) -> None:
    """One flipped bit in message or signature ends the verification."""
    signature = _KEY.sign(message)
    signed = bytearray(message + signature)
    bit = data.draw(st.integers(0, len(signed) * 8 - 1))
    signed[bit // 8] ^= 1 << bit % 8
    changed_message, changed_signature = bytes(signed[: len(message)]), bytes(signed[len(message) :])
    verdicts = (_KEY.public.verify(message, signature), _KEY.public.verify(changed_message, changed_signature))
    assert verdicts == (True, False)


@pytest.mark.parametrize("encoding", _LOW_ORDER)
def test_points_of_small_order_are_refused(encoding: str) -> None:
    """No encoding of a point of small order becomes a key."""
    with pytest.raises(KeyRefused):
        load_verifying_key(_spki_pem(bytes.fromhex(encoding)))


def test_a_point_of_small_order_would_verify_a_forgery() -> None:
    """OpenSSL accepts such a key and any message with it, so a key is judged when it is loaded."""
    identity = bytes.fromhex(_LOW_ORDER[2])
    library_key = Ed25519PublicKey.from_public_bytes(identity)
    library_key.verify(identity + bytes(32), b"any message")
    with pytest.raises(KeyRefused, match="small order"):
        VerifyingKey(identity)


@pytest.mark.parametrize("y", list(range(_P, 2**255)))
@pytest.mark.parametrize("sign", [0, 1])
def test_non_canonical_encodings_are_refused(y: int, sign: int) -> None:
    """All nineteen values of y from p upwards are refused, with either sign bit."""
    with pytest.raises(KeyRefused, match="not canonical"):
        VerifyingKey((y | sign << 255).to_bytes(32, "little"))


@pytest.mark.parametrize("y", [1, _P - 1])
def test_zero_with_the_sign_bit_is_refused(y: int) -> None:
    """x = 0 has no negative: the sign bit makes the encoding non-canonical."""
    with pytest.raises(KeyRefused, match="not canonical"):
        VerifyingKey((y | 1 << 255).to_bytes(32, "little"))


def test_a_point_off_the_curve_is_refused() -> None:
    """y = 2 belongs to no point of the curve."""
    with pytest.raises(KeyRefused, match="not a point of the curve"):
        VerifyingKey((2).to_bytes(32, "little"))


def _foreign_publics() -> list[bytes]:
    keys: list[Any] = [
        rsa.generate_private_key(65537, 2048),
        ec.generate_private_key(ec.SECP256R1()),
        ed448.Ed448PrivateKey.generate(),
        x25519.X25519PrivateKey.generate(),
    ]
    return [key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo) for key in keys]


_GOOD = _KEY.public.spki_pem
_BAD_PUBLICS = {
    "empty": b"",
    "garbage": b"\xff\x00 no key",
    "html": b"<html><body>502 Bad Gateway</body></html>",
    "raw": _KEY.public.raw,
    "private": _PRIVATE_PEM,
    "two blocks": _GOOD + _GOOD,
    "text before": b"here it is\n" + _GOOD,
    "text after": _GOOD + b"trailing",
    "labels differ": _GOOD.replace(b"END PUBLIC", b"END PRIVATE"),
    "certificate": _GOOD.replace(b"PUBLIC KEY", b"CERTIFICATE"),
    "oversize": _GOOD + b"\n" * 4096,
    "no base64": b"-----BEGIN PUBLIC KEY-----\n=A=\n-----END PUBLIC KEY-----\n",
    "short": _spki_pem(bytes(31)),
    "long": _spki_pem(_KEY.public.raw + b"\x00"),
    **{f"foreign {number}": pem for number, pem in enumerate(_foreign_publics())},
}


@pytest.mark.parametrize("name", _BAD_PUBLICS)
def test_other_things_are_no_public_key(name: str) -> None:
    """One strict Ed25519 SPKI PEM block, or a refusal that repeats nothing of the input."""
    with pytest.raises(KeyRefused) as refusal:
        load_verifying_key(_BAD_PUBLICS[name])
    assert (str(refusal.value).startswith("The public key is refused"), refusal.value.__cause__) == (True, None)


@given(st.binary(max_size=200))
def test_garbage_never_crashes_the_public_loader(garbage: bytes) -> None:
    """Whatever the bytes, inside a block or not, the answer is KeyRefused or a key."""
    for pem in (garbage, b"-----BEGIN PUBLIC KEY-----\n" + base64.b64encode(garbage) + b"\n-----END PUBLIC KEY-----"):
        with pytest.raises(KeyRefused):
            load_verifying_key(pem)


def test_line_ends_and_white_space_around_do_not_matter() -> None:
    """A PEM file with CRLF or blank lines around is the same key."""
    assert load_verifying_key(b"\n" + _GOOD.replace(b"\n", b"\r\n") + b"\r\n") == _KEY.public


def _pkcs8(key: Any, encryption: Any = None) -> bytes:
    pem: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())
    return pem


_RSA = rsa.generate_private_key(65537, 2048)
_BAD_PRIVATES = {
    "empty": b"",
    "garbage": b"\x00\x01",
    "rsa": _pkcs8(_RSA),
    "rsa traditional": _RSA.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()),
    "ec": _pkcs8(ec.generate_private_key(ec.SECP256R1())),
    "ed448": _pkcs8(ed448.Ed448PrivateKey.generate()),
    "encrypted": _pkcs8(Ed25519PrivateKey.generate(), BestAvailableEncryption(b"passphrase")),
    "openssh": Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()),
    "public": _GOOD,
    "two blocks": _PRIVATE_PEM + _PRIVATE_PEM,
    "oversize": _PRIVATE_PEM + b" " * 4096,
    "broken": b"-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIE\n-----END PRIVATE KEY-----\n",
}


@pytest.mark.parametrize("name", _BAD_PRIVATES)
def test_other_things_are_no_private_key(name: str) -> None:
    """RSA, encrypted, public, broken: refused with advice, and nothing of the material in the text."""
    pem = _BAD_PRIVATES[name]
    with pytest.raises(KeyRefused) as refusal:
        load_signing_key(pem)
    text = str(refusal.value) + repr(refusal.value.__cause__)
    material = [line for line in pem.decode("latin-1").splitlines() if len(line) > 16 and "-----" not in line]
    assert (text.startswith("The private key is refused"), [line for line in material if line in text]) == (True, [])


def test_the_vectors_keys_belong_together() -> None:
    """Each private PEM of the vectors has the public PEM beside it."""
    publics = {name: load_signing_key(pair["private_pem"].encode()).public.spki_pem for name, pair in _KEYS.items()}
    assert publics == {name: pair["public_pem"].encode() for name, pair in _KEYS.items()}


def test_another_public_half_than_the_registered_one_is_refused() -> None:
    """A private key that does not belong to the expected public key cannot be loaded."""
    other, _ = generate_signing_key()
    accepted = load_signing_key(_PRIVATE_PEM, expected=_KEY.public)
    with pytest.raises(KeyRefused, match="not the expected one"):
        load_signing_key(_PRIVATE_PEM, expected=other.public)
    assert accepted.key_id == _KEY.key_id


def test_a_pair_that_does_not_belong_together_is_refused() -> None:
    """A private key whose public half is another one's is found out by signing and verifying."""

    other, _ = generate_signing_key()
    with pytest.raises(KeyRefused, match="does not verify"):
        SigningKey(b"\x07" * 32, other.public)


def test_both_libraries_sign_and_verify_alike() -> None:
    """What OpenSSL signs is verified here, and the signature is the same one."""
    private = Ed25519PrivateKey.generate()
    key = load_signing_key(_pkcs8(private))
    assert (key.sign(b"m"), key.public.verify(b"m", private.sign(b"m"))) == (private.sign(b"m"), True)


def test_a_signing_key_shows_and_gives_away_nothing() -> None:
    """repr holds the key id only; pickling and copying fail."""
    for leave in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            leave(_KEY)
    assert repr(_KEY) == str(_KEY) == f"SigningKey(key_id='{_KEY.key_id}')"


def test_the_key_id_is_the_fingerprint_of_the_spki() -> None:
    """SHA-256 over the DER, lower-case hex; the JWK carries it as kid."""
    der = base64.b64decode(_GOOD.split(b"\n")[1])
    jwk = _KEY.public.jwk()
    fingerprint = str(sha256_hex(der))
    named = (str(_KEY.public.key_id), jwk["kid"], jwk["kty"], jwk["crv"])
    assert named == (fingerprint, fingerprint, "OKP", "Ed25519")
    assert base64.urlsafe_b64decode(jwk["x"] + "=") == _KEY.public.raw


@pytest.mark.parametrize("length", [0, 63, 65, 128])
def test_signatures_of_another_length_are_refused(length: int) -> None:
    """Only 64 bytes can be a signature."""
    assert _KEY.public.verify(b"m", (_KEY.sign(b"m") * 2)[:length]) is False
