"""Secrets in memory: no way in which Python shows, stores or copies objects gives one away."""

from __future__ import annotations

import base64
import copy
import dataclasses
import json
import pickle
import pprint
import sys
import traceback
from collections.abc import Callable, Iterator

import pytest

from gateway.core import hmac_sha256
from gateway.core.ed25519 import SigningKey, generate_signing_key, load_signing_key
from gateway.core.hidden import HiddenBytes, HiddenText
from gateway.core.sealing import SealedFor, SealKeys
from gateway.core.secret import Secret
from gateway.core.tokens import sign_hs256
from gateway.core.types import Environment, OperatorCode, TenantId, UnixSeconds
from gateway.errors import GatewayError
from gateway.keys.own.keyring import Keyring, OperatorEntry, TenantEntry
from gateway.keys.sources.secret_files import SecretSource
from gateway.resilience.clock import SystemClock
from tests.config.valid_settings import rsa_pem

CANARY = "canary-0f7c41d95ab3"
TENANT, OPERATOR = TenantId("tenant"), OperatorCode("acme")


def spellings(secret: bytes) -> list[str]:
    """The secret in the forms of a text: raw, in hexadecimal, in both alphabets of base64, as Python's repr."""
    encoded = base64.b64encode(secret).decode().rstrip("=")
    return [repr(secret)[2:-1], secret.hex(), encoded, encoded.replace("+", "-").replace("/", "_")]


@pytest.fixture
def keyring() -> Keyring:
    """A tenant and an operator whose secrets are known to the test."""
    return Keyring(
        tenants=[
            TenantEntry(
                tenant_id=TENANT,
                hmac=SecretSource(setting="A", value=Secret.from_text(CANARY)),
                api_key=SecretSource(setting="B", value=Secret.from_text(CANARY)),
                api_key_id="id",
            )
        ],
        operators=[
            OperatorEntry(
                operator_code=OPERATOR,
                environment=Environment.SANDBOX,
                signing_key=SecretSource(setting="C", value=Secret(PEM)),
            )
        ],
        clock=SystemClock(),
    )


KEY, PEM = generate_signing_key()
SEED = bytes(KEY._secret)[:32]
RSA = rsa_pem().encode()
RSA_DER = base64.b64decode(b"".join(RSA.splitlines()[1:-1]))


def shown(value: object) -> Iterator[str]:
    """What the usual ways of looking at an object print."""
    yield repr(value)
    yield str(value)
    yield f"{value} {value!r}"
    yield pprint.pformat(value)
    yield repr([value])
    yield repr(vars(value) if hasattr(value, "__dict__") else "")


def test_nothing_that_holds_a_secret_shows_it(keyring: Keyring) -> None:
    """Secrets, keys, what the keyring gives out, what it was made of, and what its objects hold inside."""
    tenant, operator = keyring.tenant(TENANT), keyring.operator(OPERATOR, Environment.SANDBOX)
    inside = [vars(one) for held in keyring._all_keys() for one in (held.loaded, held.loaded.versions)]
    things = [keyring, tenant, operator, tenant.hmac, operator.signing_key, keyring.describe(), vars(keyring), inside]
    assert tenant.hmac is not None
    things += [tenant.hmac.reveal(), [tenant.hmac.reveal_text()], tenant.hmac._value]
    assert isinstance(operator.signing_key, SigningKey)
    things.append(operator.signing_key._secret)
    texts = [text for thing in things for text in shown(thing) if not isinstance(thing, HiddenText)]
    wanted = [*spellings(CANARY.encode()), *spellings(SEED), *spellings(PEM)]
    assert [] == [(spelling, text[:200]) for text in texts for spelling in wanted if spelling in text]


@pytest.mark.parametrize("act", [pickle.dumps, copy.copy, copy.deepcopy, json.dumps, dataclasses.asdict])
def test_nothing_that_holds_a_secret_is_stored_or_copied(keyring: Keyring, act: Callable[[object], object]) -> None:
    """Alone or inside another value: a TypeError without the secret."""
    tenant, operator = keyring.tenant(TENANT), keyring.operator(OPERATOR, Environment.SANDBOX)
    assert tenant.hmac is not None
    assert isinstance(operator.signing_key, SigningKey)
    whole = [{"secret": one} for one in (tenant.hmac, operator.signing_key, tenant.hmac.reveal())]
    things: list[object] = [tenant, operator] if act is dataclasses.asdict else [tenant.hmac, operator.signing_key]
    if act not in (dataclasses.asdict, copy.copy):
        things += whole
    for thing in things:
        with pytest.raises(TypeError) as caught:
            act(thing)
        assert CANARY not in str(caught.value)


def failing_uses(keyring: Keyring) -> list[Callable[[], object]]:
    """Uses of secrets that fail deep inside, with the secret on the stack."""
    tenant, operator = keyring.tenant(TENANT), keyring.operator(OPERATOR, Environment.SANDBOX)
    assert tenant.hmac is not None
    assert isinstance(operator.signing_key, SigningKey)
    hmac, signing_key, no_bytes = tenant.hmac, operator.signing_key, object()
    seals, place = SealKeys([Secret(CANARY.encode().ljust(32, b"."))]), SealedFor(purpose="p", name="n")
    return [
        lambda: keyring.sign_request(TENANT, "GET", "/a\nb", UnixSeconds(1), b""),
        lambda: keyring.sign_request(TENANT, "GET", "/", UnixSeconds(1), no_bytes),  # type: ignore[arg-type]
        lambda: hmac_sha256.header_value(hmac.reveal(), no_bytes),  # type: ignore[arg-type]
        lambda: sign_hs256({"no": no_bytes}, hmac.reveal()),
        lambda: signing_key.sign(no_bytes),  # type: ignore[arg-type]
        lambda: seals.seal(place, no_bytes, stored_at=UnixSeconds(1), expires_at=UnixSeconds(2)),  # type: ignore[arg-type]
        lambda: load_signing_key(hmac.reveal()),
        lambda: load_signing_key(Secret(RSA).reveal()),
    ]


@pytest.mark.parametrize("number", range(8))
def test_a_traceback_with_its_locals_shows_no_secret(keyring: Keyring, number: int) -> None:
    """As rich, sentry and debuggers print them: every local variable of every frame, ours and the libraries'."""
    try:
        failing_uses(keyring)[number]()
    except (TypeError, ValueError, GatewayError):
        reported = "".join(traceback.TracebackException(*sys.exc_info(), capture_locals=True).format())
        frames = [dict(frame.f_locals) for frame, _ in traceback.walk_tb(sys.exc_info()[2])]
    else:
        pytest.fail("it was to fail")
    wanted = [*spellings(CANARY.encode()), *spellings(SEED), *spellings(PEM), *spellings(RSA), *spellings(RSA_DER)]
    assert [] == [spelling for spelling in wanted if spelling in reported or spelling in repr(frames)]


def test_hidden_bytes_and_text_work_as_such() -> None:
    """Libraries take them for what they are."""
    secret = HiddenBytes(b"secret")
    assert (b"secret", b"secret!", "Bearer secret") == (secret, secret + b"!", f"Bearer {HiddenText('secret')}")
    assert hmac_sha256.sign_raw(b"secret", b"m") == hmac_sha256.sign_raw(secret, b"m")
