"""Settings that make a whole configuration, and the error that other ones lead to."""

import base64
import secrets
from collections.abc import Mapping
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from gateway.config import Config, ConfigInvalid, load

NO_ENV_FILE = Path("/nonexistent/.env")
API_KEY_ID = "7d9f3c52-0000-4000-8000-000000000001"


def ed25519_pem() -> str:
    """A fresh Ed25519 private key as PKCS#8 PEM."""
    key = Ed25519PrivateKey.generate()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def rsa_pem() -> str:
    """A fresh RSA private key as PKCS#8 PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def platform_pem() -> str:
    """A fresh Ed25519 public key as SPKI PEM."""
    public = Ed25519PrivateKey.generate().public_key()
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


LAUNCH_KEY = ed25519_pem()

TENANT = {
    "TENANT_ID": "acme",
    "ADMIN_API_KEY": "api-key-text",
    "INGESTION_HMAC_SECRET": "hmac-secret-text",
    "INGESTION_BASE_URL": "https://ingestion.example",
    "ADMIN_BASE_URL": "https://admin.example",
    "QUERY_BASE_URL": "https://query.example",
    "WEBSOCKET_URL": "wss://query.example/ws",
}
OPERATOR = {
    "PREDICTION_OPERATOR_CODE": "acme",
    "PREDICTION_ENVIRONMENT": "sandbox",
    "PREDICTION_LAUNCH_KEY": LAUNCH_KEY,
}
WHOLE = {**TENANT, **OPERATOR}

SHARED = {
    **WHOLE,
    "REDIS_URL": "redis://cache.example",
    "GATEWAY_CACHE_KEYS": base64.b64encode(secrets.token_bytes(32)).decode(),
    "DATABASE_URL": "postgresql://gateway@db.example/gateway",
}
"""A gateway that shares Redis and PostgreSQL with others."""


def loaded(settings: Mapping[str, str]) -> Config:
    """The configuration that these settings make, with no `.env` file."""
    return load(settings, env_file=NO_ENV_FILE)


def refused(settings: Mapping[str, str], *, env_file: Path = NO_ENV_FILE) -> ConfigInvalid:
    """The error that these settings lead to; fails when they are accepted."""
    try:
        load(settings, env_file=env_file)
    except ConfigInvalid as error:
        return error
    raise AssertionError("the configuration was accepted")


def faulty(settings: Mapping[str, str]) -> list[str]:
    """The names of the settings that are found wrong, in order."""
    return [fault.setting for fault in refused(settings).faults]
