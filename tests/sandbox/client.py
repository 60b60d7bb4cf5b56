"""A tenant and an operator for the sandbox's tests. They sign with their own code and send paths unchanged."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import aiohttp
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from yarl import URL

from tests.sandbox_process import SandboxProcess


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, read whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body as JSON."""
        return json.loads(self.body)


class Client:
    """Speaks to one sandbox; `tenant` is its tenant id."""

    def __init__(self, sandbox: SandboxProcess) -> None:
        self.sandbox = sandbox
        self.environ = sandbox.environ
        self.tenant = sandbox.environ["TENANT_ID"]
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        # A connection per call: a fault that closes one must not show in the next call.
        connector = aiohttp.TCPConnector(force_close=True)
        self._session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=10))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._session is not None
        await self._session.close()

    async def call(
        self,
        surface: str,
        method: str,
        target: str,
        body: bytes = b"",
        headers: Any = None,
        timeout_s: float = 10,
    ) -> Answer:
        """Send one request; no redirect is followed, nothing is encoded again."""
        assert self._session is not None
        url = URL(self.sandbox.urls[surface] + target, encoded=True)
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        async with self._session.request(
            method, url, data=body or None, headers=headers, allow_redirects=False, timeout=timeout
        ) as response:
            return Answer(response.status, response.headers, await response.read())

    def signed(
        self, method: str, path: str, body: bytes = b"", *, at: int | None = None, secret: str | None = None
    ) -> dict[str, str]:
        """Return the headers of the tenant's HMAC."""
        timestamp = str(int(time.time()) if at is None else at)
        payload = f"{method}\n{path}\n{timestamp}\n".encode() + body
        key = (secret or self.environ["INGESTION_HMAC_SECRET"]).encode()
        digest = hmac.new(key, payload, hashlib.sha256).hexdigest()
        return {"X-Tenant-Id": self.tenant, "X-Timestamp": timestamp, "X-Signature": f"hmac-sha256={digest}"}

    async def post(self, path: str, value: object) -> Answer:
        """Send a signed JSON body to ingestion."""
        body = json.dumps(value).encode()
        return await self.call("ingestion", "POST", path, body, self.signed("POST", path, body))

    def event(self, event_id: str | None = "e-1", user: str = "ada", delta: Any = 5, board: str = "xp") -> Any:
        """Return an event of the seed's shape."""
        event = {"tenant_id": self.tenant, "leaderboard_id": board, "user_id": user, "score_delta": delta}
        return event if event_id is None else {**event, "event_id": event_id}

    async def read(self, target: str) -> Answer:
        """GET from the query host with the API key."""
        return await self.call("query", "GET", target, headers={"X-API-Key": self.environ["ADMIN_API_KEY"]})

    async def board(self, rest: str = "", board: str = "xp", kind: str = "leaderboards") -> Answer:
        """GET one of the seven reads of a board."""
        return await self.read(f"/v1/{kind}/{self.tenant}/{board}{rest}")

    def effects(self, event_id: str) -> dict[str, int]:
        """Return what the sandbox counted for an event id."""
        reported = self.sandbox.control("GET", f"/effects?event_id={event_id}")
        return {name: reported[name] for name in ("received", "effects", "scored")}

    def operator_headers(
        self, method: str, path: str, body: bytes = b"", *, parts: int = 6, at: int | None = None
    ) -> dict[str, str]:
        """Return the headers of a signed Operator API request."""
        timestamp = str(int(time.time()) if at is None else at)
        digest = hashlib.sha256(body).hexdigest()
        payload = ["acme", "sandbox", timestamp, method, path, digest]
        if parts == 5:
            payload.remove("sandbox")
        signature = base64.urlsafe_b64encode(self.launch_key().sign("\n".join(payload).encode()))
        return {
            "X-Operator-Code": "acme",
            "X-Operator-Environment": "sandbox",
            "X-Signature-Timestamp": timestamp,
            "X-Signature": signature.rstrip(b"=").decode(),
        }

    def launch_key(self) -> Ed25519PrivateKey:
        """Return the operator's key."""
        key = load_pem_private_key(self.environ["PREDICTION_LAUNCH_KEY"].encode(), None)
        assert isinstance(key, Ed25519PrivateKey)
        return key
