"""The sandbox takes an old and a new secret side by side, as a Phoenix does while its customer rotates."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.sandbox.client import Client


async def health(client: Client, headers: dict[str, str]) -> int:
    return (await client.call("admin", "GET", "/health", headers=headers)).status


async def signed_health(client: Client, secret: str) -> int:
    return await health(client, client.signed("GET", "/health", secret=secret))


async def test_two_secrets_hold_until_one_is_removed(client: Client) -> None:
    """HMAC secret and API key alike; the first one too can be taken away."""
    old, old_key = client.environ["INGESTION_HMAC_SECRET"], client.environ["ADMIN_API_KEY"]
    new = {"tenant_id": client.tenant, "hmac_secret": "new-secret", "api_key": "pk_new"}
    assert (401, 401) == (await signed_health(client, "new-secret"), await health(client, {"X-API-Key": "pk_new"}))
    client.sandbox.control("POST", "/credentials/add", new)
    for secret, key in ((old, old_key), ("new-secret", "pk_new")):
        assert (200, 200) == (await signed_health(client, secret), await health(client, {"X-API-Key": key}))
    gone = {"tenant_id": client.tenant, "hmac_secret": old, "api_key": old_key}
    assert {"hmac_secrets": 1, "api_keys": 1} == client.sandbox.control("POST", "/credentials/remove", gone)
    assert (401, 401) == (await signed_health(client, old), await health(client, {"X-API-Key": old_key}))
    client.sandbox.control("POST", "/reset", {})
    assert 200 == await signed_health(client, old)


async def test_two_operator_keys_hold_until_one_is_removed(client: Client) -> None:
    """The operator's route shows the newest key. Anything that is not a public key is refused."""
    key = Ed25519PrivateKey.generate().public_key()
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    operator = {"operator_code": "acme", "environment": "sandbox"}
    assert {"public_keys": 2} == client.sandbox.control("POST", "/credentials/add", {**operator, "public_pem": pem})
    shown = await client.call("prediction", "GET", "/o/acme/.well-known/signing-key.pem")
    assert pem.encode() == shown.body
    assert {"public_keys": 1} == client.sandbox.control("POST", "/credentials/remove", {**operator, "public_pem": pem})
    for wrong in ({**operator, "public_pem": "no key"}, {**operator}, {"tenant_id": "nobody"}):
        with pytest.raises(AssertionError, match="400"):
            client.sandbox.control("POST", "/credentials/add", wrong)
