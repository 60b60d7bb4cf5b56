"""Two gateways with secrets in folders and one sandbox: every kind of key rotates while both are under load.

A rotation: Phoenix accepts the new secret beside the old one, a file is added, both replicas load it
automatically, and Phoenix removes the old one. Cache keys do not involve Phoenix; the platform key belongs to Phoenix.
"""

from __future__ import annotations

import asyncio
import base64
import random
import secrets
import signal
import time
from pathlib import Path

import grpc
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from gateway.core.ed25519 import generate_signing_key
from gateway.keys.sources.version_files import name_for
from gateway.v1 import keys_pb2, keys_pb2_grpc
from tests.gateway_process import GatewayProcess, of_sandbox
from tests.sandbox_process import SandboxProcess

LEAD_S = 4.0
KEPT_S = 1.0
"""How long a verifier keeps the published keys, from `Cache-Control`."""
TAKEN_OVER_WITHIN_S = 60.0
KINDS = {
    keys_pb2.KEY_KIND_TENANT_HMAC,
    keys_pb2.KEY_KIND_ADMIN_API_KEY,
    keys_pb2.KEY_KIND_OPERATOR,
    keys_pb2.KEY_KIND_CACHE_SEAL,
}


class RotationBench:
    """The processes, the folders, and what each rotation does to them."""

    def __init__(self, directory: Path, sandbox: SandboxProcess, store: dict[str, str]) -> None:
        """Lay down the first version of each secret. `store`: DATABASE_URL and REDIS_URL."""
        self.sandbox = sandbox
        environ = dict(sandbox.environ)
        self._tenant_id = environ["TENANT_ID"]
        self._folders = {name: directory / name for name in ("hmac", "api_key", "launch", "cache_keys")}
        self._known = {"hmac_secret": environ.pop("INGESTION_HMAC_SECRET"), "api_key": environ.pop("ADMIN_API_KEY")}
        launch_pem = environ.pop("PREDICTION_LAUNCH_KEY")
        self._operator_keys = [_public_pem(launch_pem)]
        for folder in self._folders.values():
            folder.mkdir()
        hour_ago = time.time() - 3600
        self._newest: dict[str, str] = {}
        self._add("hmac", self._known["hmac_secret"], hour_ago)
        self._add("api_key", self._known["api_key"], hour_ago)
        self._add("launch", launch_pem, hour_ago)
        self._add("cache_keys", _seal_key(), hour_ago)
        settings = {
            **of_sandbox(sandbox.urls, environ),
            **store,
            "INGESTION_HMAC_SECRET_FILE": str(self._folders["hmac"]),
            "ADMIN_API_KEY_FILE": str(self._folders["api_key"]),
            "PREDICTION_LAUNCH_KEY_FILE": str(self._folders["launch"]),
            "GATEWAY_CACHE_KEYS_FILE": str(self._folders["cache_keys"]),
            "PREDICTION_KEY_LEAD": str(LEAD_S),
            "PREDICTION_LAUNCH_MAX_TTL": "60",
            "PREDICTION_KEY_COOLDOWN": "0.2",
            "GATEWAY_LOG_LEVEL": "warning",
        }
        self.gateways = [GatewayProcess(settings) for _ in range(2)]

    async def rotate(self, rng: random.Random) -> None:
        """Rotate every kind once, with one replica killed somewhere in between."""
        new = {"hmac_secret": secrets.token_hex(32), "api_key": f"pk_{secrets.token_hex(16)}"}
        key, pem = generate_signing_key()
        public_pem = key.public.spki_pem.decode()
        control = self.sandbox.control_async
        await control("POST", "/credentials/add", {"tenant_id": self._tenant_id, **new})
        await control("POST", "/credentials/add", {**self._operator(), "public_pem": public_pem})
        killing = asyncio.create_task(self._kill_one(rng.uniform(0.0, LEAD_S + 2.0), rng.randrange(2)))
        rotating = asyncio.create_task(self._rotate_platform_key(rng.uniform(0.0, LEAD_S + 2.0)))
        now = time.time()
        self._add("hmac", new["hmac_secret"], now)
        self._add("api_key", new["api_key"], now)
        self._add("launch", pem.decode(), now)
        self._add("cache_keys", _seal_key(), now)
        await asyncio.gather(killing, rotating)
        for gateway in self.gateways:
            await asyncio.to_thread(self._wait_taken_over, gateway)
        await control("POST", "/credentials/remove", {"tenant_id": self._tenant_id, **self._known})
        self._known = new
        self._operator_keys.append(public_pem)
        if len(self._operator_keys) > 3:  # tokens that it signed may still come
            gone = self._operator_keys.pop(0)
            await control("POST", "/credentials/remove", {**self._operator(), "public_pem": gone})

    def versions_listed(self, gateway: GatewayProcess) -> list[keys_pb2.KeyDescription]:
        """The key list of one replica."""
        with grpc.insecure_channel(gateway.address) as channel:
            answer = keys_pb2_grpc.KeyServiceStub(channel).ListKeys(keys_pb2.ListKeysRequest(), timeout=10)
        return list(answer.keys)

    async def _kill_one(self, after_s: float, which: int) -> None:
        await asyncio.sleep(after_s)
        await asyncio.to_thread(self.gateways[which].stop, signal.SIGKILL)
        for more_tries in (2, 1, 0):
            try:
                await asyncio.to_thread(self.gateways[which].start)
            except RuntimeError:  # full load on a busy machine: it may take longer than a start usually may
                if not more_tries:
                    raise
            else:
                return

    async def _rotate_platform_key(self, after_s: float) -> None:
        await asyncio.sleep(after_s)
        await self.sandbox.control_async("POST", "/keys/rotate", {})

    def _wait_taken_over(self, gateway: GatewayProcess) -> None:
        """Wait until the newest version of each kind is in use. Raises: AssertionError with the replica's key list."""
        until = time.monotonic() + TAKEN_OVER_WITHIN_S
        wanted = set(self._newest.values())
        while True:
            listed = self.versions_listed(gateway)
            active = {one.version for one in listed if one.state == keys_pb2.KEY_STATE_ACTIVE and one.kind in KINDS}
            if active == wanted:
                return
            notes = [(one.version, one.note) for one in listed if one.note]
            assert time.monotonic() < until, f"in use: {active}, wanted: {wanted}, notes: {notes}"
            time.sleep(0.1)

    def _add(self, folder: str, content: str, at: float) -> None:
        """Add a version as an operator should: whole, under another name, then renamed."""
        name = name_for(at, "")
        making = self._folders[folder] / f".{name}"
        making.touch(mode=0o600)
        making.write_text(content)
        making.rename(self._folders[folder] / name)
        self._newest[folder] = name

    def _operator(self) -> dict[str, str]:
        return {"operator_code": "acme", "environment": "sandbox"}


def _seal_key() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()


def _public_pem(private_pem: str) -> str:
    key = load_pem_private_key(private_pem.encode(), password=None).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
