"""The keys and settings of a run: one tenant, one operator and Phoenix's platform key, generated for each run.

All servers get the same settings. The secrets are only in this process and in the environment of its child processes.
"""

from __future__ import annotations

import secrets
import uuid
from dataclasses import dataclass, field

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

OPERATOR_CODE = "acme"
OPERATOR_ID = "op-acme"
TENANT_ID = "tenant-bench-001"
EMBED_URL = "https://embed.prediction.example"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """The keys of a run."""

    launch_key: Ed25519PrivateKey = field(repr=False, default_factory=Ed25519PrivateKey.generate)
    platform_key: Ed25519PrivateKey = field(repr=False, default_factory=Ed25519PrivateKey.generate)
    hmac_secret: str = field(repr=False, default_factory=lambda: secrets.token_hex(32))
    admin_api_key: str = field(repr=False, default_factory=lambda: f"pk_{secrets.token_hex(16)}")

    @property
    def launch_public(self) -> Ed25519PublicKey:
        """The public key for launch tokens."""
        return self.launch_key.public_key()

    def upstream_environ(self) -> dict[str, str]:
        """Return the settings of the upstream."""
        return {"INGESTION_HMAC_SECRET": self.hmac_secret, "PLATFORM_KEY_PEM": _public_pem(self.platform_key)}

    def gateway_environ(self, upstream_port: int, data_dir: str) -> dict[str, str]:
        """Return the settings of a gateway: defaults, no Redis, no PostgreSQL, a static platform key."""
        upstream = f"http://127.0.0.1:{upstream_port}"
        return {
            "TENANT_ID": TENANT_ID,
            "ADMIN_API_KEY": self.admin_api_key,
            "ADMIN_API_KEY_ID": str(uuid.uuid4()),
            "INGESTION_HMAC_SECRET": self.hmac_secret,
            "INGESTION_BASE_URL": upstream,
            "ADMIN_BASE_URL": upstream,
            "QUERY_BASE_URL": upstream,
            "WEBSOCKET_URL": f"ws://127.0.0.1:{upstream_port}/ws",
            "PREDICTION_BASE_URL": upstream,
            "PREDICTION_EMBED_URL": EMBED_URL,
            "PREDICTION_OPERATOR_CODE": OPERATOR_CODE,
            "PREDICTION_ENVIRONMENT": "sandbox",
            "PREDICTION_OPERATOR_ID": OPERATOR_ID,
            "PREDICTION_LAUNCH_KEY": self.launch_key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ).decode(),
            "PREDICTION_PLATFORM_KEY": _public_pem(self.platform_key),
            "GATEWAY_DATA_DIR": data_dir,
            "GATEWAY_LOG_LEVEL": "info",
            "GATEWAY_LOG_FORMAT": "json",
        }


def _public_pem(key: Ed25519PrivateKey) -> str:
    encoded = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return encoded.decode()
