"""The pages of public keys: one set for all, one for each operator environment, each key as PEM."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

import pytest
from prometheus_client import CollectorRegistry

from gateway.core.ed25519 import VerifyingKey, generate_signing_key
from gateway.core.types import Environment, OperatorCode
from gateway.front.admin import AdminServer
from gateway.front.published_keys import JWK_SET, PublishedKeys
from gateway.keys.descriptions import KeyState, PublishedKey
from gateway.telemetry.metrics import BuildInfo, Metrics

ACME, ODD = OperatorCode("acme"), OperatorCode("odd /code")


def published(code: OperatorCode, environment: Environment, state: KeyState) -> PublishedKey:
    return PublishedKey(
        operator_code=code,
        environment=environment,
        key=generate_signing_key()[0].public,
        state=state,
        activated_at=1_800_000_000.5,
        ends_at=1_800_003_600.0 if state is KeyState.RETIRING else None,
    )


KEYS = [
    published(ACME, Environment.SANDBOX, KeyState.ACTIVE),
    published(ACME, Environment.SANDBOX, KeyState.RETIRING),
    published(ACME, Environment.PROD, KeyState.ACTIVE),
    published(ODD, Environment.PROD, KeyState.ANNOUNCED),
]
PAGES = PublishedKeys(lambda: KEYS, lead_s=300.0)


def in_set(path: str) -> list[dict[str, str]]:
    page = PAGES.page(path)
    assert page is not None
    keys: list[dict[str, str]] = json.loads(page.body)["keys"]
    return keys


def test_the_set_holds_every_key_as_rfc_8037_has_it() -> None:
    """With the facts for a verifier: owner, state and time from which it signs."""
    first, second, *_ = in_set("/keys/jwks.json")
    assert {
        "kty": "OKP",
        "crv": "Ed25519",
        "alg": "EdDSA",
        "use": "sig",
        "kid": KEYS[0].key.key_id,
        "x": KEYS[0].key.jwk()["x"],
        "operator_code": "acme",
        "environment": "sandbox",
        "state": "active",
        "activate_time": "2027-01-15T08:00:00Z",
    } == first
    assert ("retiring", "2027-01-15T09:00:00Z") == (second["state"], second["end_time"])
    assert 4 == len(in_set("/keys/jwks.json"))


def test_one_operators_set_holds_no_other_operators_key() -> None:
    """By code and environment, percent-encoded as a path has them."""
    for path, wanted in (
        ("/keys/acme/sandbox/jwks.json", KEYS[:2]),
        ("/keys/acme/prod/jwks.json", KEYS[2:3]),
        ("/keys/odd%20%2Fcode/prod/jwks.json", KEYS[3:]),
    ):
        assert [one.key.key_id for one in wanted] == [key["kid"] for key in in_set(path)]


@pytest.mark.parametrize(
    "path",
    ["/keys/", "/keys/acme/jwks.json", "/keys/nobody/prod/jwks.json", "/keys/../keys/jwks.json", "/keys/.pem", "/keys"],
)
def test_there_is_no_other_page(path: str) -> None:
    """An operator without a key has none either."""
    assert PAGES.page(path) is None


def test_a_set_is_kept_for_less_than_the_lead() -> None:
    """Who fetches it again in time knows a key before it signs, a failed fetch and a slow replica included."""
    page = PAGES.page("/keys/jwks.json")
    assert page is not None
    assert (JWK_SET, 149) == (page.content_type, page.max_age_s)
    short = PublishedKeys(lambda: KEYS, lead_s=1.0).page("/keys/jwks.json")
    assert short is not None
    assert 0 == short.max_age_s


@pytest.fixture
async def address() -> AsyncIterator[str]:
    """An admin port that shows them."""
    metrics = Metrics(CollectorRegistry(), methods=[], build=BuildInfo(version="", revision="", python=""))
    server = AdminServer(
        "127.0.0.1:0", metrics, lambda: True, lambda: {"ready": True, "services": {}}, pages=[PAGES.page]
    )
    await server.start()
    yield server.address
    await server.stop()


async def test_the_admin_port_shows_them(address: str) -> None:
    """As PEM that our own loader reads. A missing key is a 404 and is not cached."""
    import asyncio

    def get(path: str) -> tuple[int, str, bytes]:
        try:
            with build_opener(ProxyHandler({})).open(f"http://{address}{path}", timeout=5) as answer:
                return answer.status, answer.headers["cache-control"], answer.read()
        except HTTPError as refused:
            return refused.code, refused.headers["cache-control"], b""

    status, kept, pem = await asyncio.to_thread(get, f"/keys/{KEYS[2].key.key_id}.pem")
    assert (200, "max-age=149", KEYS[2].key.spki_pem) == (status, kept, pem)
    assert (404, "no-store", b"") == await asyncio.to_thread(get, f"/keys/{'0' * 64}.pem")
    assert VerifyingKey(KEYS[2].key.raw) == KEYS[2].key
