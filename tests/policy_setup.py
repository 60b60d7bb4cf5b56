"""A sandbox of two tenants and three operator environments, and gateways that take callers by certificates."""

from __future__ import annotations

import json
import secrets
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tests.certificates import Authority, Pair
from tests.gateway_process import GatewayProcess
from tests.sandbox_process import SandboxProcess

TENANTS = ("one", "two")
OPERATORS = (("acme", "sandbox"), ("acme", "prod"), ("zeta", "sandbox"))
SERVER_NAMES = ("localhost", "127.0.0.1")
PROBE = "spiffe://test.internal/probe"
"""A client with a certificate but without a policy entry. It only calls the health service."""


@dataclass(frozen=True, kw_only=True)
class PolicySetup:
    """What gateways of a test share."""

    sandbox: SandboxProcess
    authority: Authority
    folder: Path
    tables: str = field(repr=False)
    """[[tenants]] and [[operators]] of the gateways' TOML file, and the hosts."""

    def policy_file(self, policy: str, name: str = "gateway.toml") -> Path:
        """Write or replace the TOML file of a gateway: all tenants and operators, and this policy."""
        path = self.folder / name
        new = path.with_suffix(".new")
        new.touch(mode=0o600)
        new.write_text(self.tables + policy)
        new.replace(path)
        return path

    @contextmanager
    def gateway(
        self, policy: str, environ: Mapping[str, str] | None = None, name: str = "gateway.toml"
    ) -> Iterator[GatewayProcess]:
        """Run a gateway with mutual TLS and this policy."""
        certificate, key = self.authority.issue(*SERVER_NAMES).write(self.folder / name[:-5], "server")
        ca = self.folder / name[:-5] / "ca.pem"
        ca.write_bytes(self.authority.certificate)
        settings = {
            "GATEWAY_CONFIG": str(self.policy_file(policy, name)),
            "GATEWAY_TLS_CERT_FILE": str(certificate),
            "GATEWAY_TLS_KEY_FILE": str(key),
            "GATEWAY_TLS_CLIENT_CA_FILE": str(ca),
            **(environ or {}),
        }
        probe = self.authority.credentials(self.authority.issue(PROBE))
        with GatewayProcess(settings, credentials=probe) as process:
            yield process

    def channel(self, gateway: GatewayProcess, *names: str, pair: Pair | None = None) -> grpc.Channel:
        """Return a channel of a client whose certificate has these names, or of one with this pair."""
        own = pair or self.authority.issue(*names)
        return grpc.secure_channel(gateway.address, self.authority.credentials(own))


@contextmanager
def start_policy_setup(folder: Path) -> Iterator[PolicySetup]:
    """Start the sandbox; everything is written below `folder`."""
    sandbox_tables, own_tables = [], []
    for tenant in TENANTS:
        key, secret, key_id = secrets.token_urlsafe(24), secrets.token_urlsafe(32), uuid.uuid4()
        sandbox_tables.append(_table("tenants", tenant_id=tenant, admin_api_key=key, hmac_secret=secret))
        own = {"tenant_id": tenant, "admin_api_key": key, "admin_api_key_id": str(key_id)}
        own_tables.append(_table("tenants", **own, ingestion_hmac_secret=secret))
    for code, environment in OPERATORS:
        key_pair = Ed25519PrivateKey.generate()
        public = key_pair.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        private = key_pair.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        named = {"operator_code": code, "environment": environment}
        sandbox_tables.append(_table("operators", **named, public_key_pem=public))
        own_tables.append(_table("operators", **named, launch_key=private))
    config = folder / "sandbox.toml"
    config.write_text("\n".join(sandbox_tables))
    without = dict.fromkeys(
        [
            *("TENANT_ID", "ADMIN_API_KEY", "ADMIN_API_KEY_ID", "INGESTION_HMAC_SECRET"),
            *("PREDICTION_OPERATOR_CODE", "PREDICTION_ENVIRONMENT", "PREDICTION_LAUNCH_KEY", "PREDICTION_OPERATOR_ID"),
        ],
        "",
    )
    with SandboxProcess(without, ["--config", str(config)]) as sandbox:
        hosts = {
            **{f"{name}_base_url": sandbox.urls[name] for name in ("ingestion", "admin", "query", "prediction")},
            "websocket_url": sandbox.urls["websocket"],
            "prediction_embed_url": sandbox.urls["embed"],
            "prediction_key_cooldown": "0.05",
        }
        top = "\n".join(f'{name} = "{value}"' for name, value in hosts.items())
        yield PolicySetup(
            sandbox=sandbox,
            authority=Authority(),
            folder=folder,
            tables="\n".join([top, *own_tables]),
        )


def _table(kind: str, **values: str) -> str:
    lines = [f"[[{kind}]]", *(f'{name} = """{value}"""' for name, value in values.items())]
    return "\n".join(lines) + "\n"


def caller(name: str, **members: str | int | bool | Sequence[str]) -> str:
    """Return a [[callers]] table of the policy. Without `ids`, its identity is spiffe://test.internal/NAME."""
    given = {"ids": [identity(name)], **members}
    # JSON writes texts, numbers, flags and lists as TOML does.
    lines = ["", "[[callers]]", f'name = "{name}"', *(f"{key} = {json.dumps(value)}" for key, value in given.items())]
    return "\n".join(lines) + "\n"


def identity(name: str) -> str:
    """Return a caller's SPIFFE id."""
    return f"spiffe://test.internal/{name}"
