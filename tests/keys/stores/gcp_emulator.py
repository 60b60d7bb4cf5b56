"""Secret Manager of Google Cloud, as its published REST contract describes the few methods that the gateway calls.

Shares no code with the gateway. It also answers as the token endpoint of a service account, whose key it makes.
Contract: projects.secrets.versions access and get, and the errors of google.rpc.Status.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

_VERSION = re.compile(r"/v1/(projects/[^/]+/secrets/[^/:]+)/versions/([^/:]+)(:access)?$")


class GcpEmulator:
    """Secrets by name, each a list of versions. `readable`: whose values may be read; `refuses`: an answer for all."""

    def __init__(self) -> None:
        emulator = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = self.rfile.read(int(self.headers["Content-Length"]))
                if self.path.endswith(":testIamPermissions"):
                    held = [one for one in json.loads(asked)["permissions"] if one in emulator.held]
                    self.answer(200, {"permissions": held} if held else {})
                    return
                if self.path.startswith("/v1/"):
                    self.administer(asked)
                    return
                self.answer(200, {"access_token": "ya29.emulated", "expires_in": 3600, "token_type": "Bearer"})

            def administer(self, asked: bytes) -> None:
                path, _, created = self.path.removeprefix("/v1/").partition("?secretId=")
                if self.headers.get("Authorization") != "Bearer administrator":
                    self.fail(401, "UNAUTHENTICATED")
                elif created:
                    self.answer(200, {"name": f"{path}/{created}"})
                else:
                    data = json.loads(asked)["payload"]["data"]
                    emulator.add(path.removesuffix(":addVersion"), base64.b64decode(data, validate=True))
                    self.answer(200, {"name": f"{path.removesuffix(':addVersion')}/versions/1"})

            def do_GET(self) -> None:
                if emulator.raw is not None:
                    self.wfile.write(emulator.raw)
                    self.close_connection = True
                elif self.headers.get("Authorization") != "Bearer ya29.emulated":
                    self.fail(401, "UNAUTHENTICATED")
                else:
                    self.answer(*emulator.look_up(self.path))

            def fail(self, code: int, status: str) -> None:
                self.answer(code, {"error": {"code": code, "status": status, "message": status}})

            def answer(self, code: int, content: Any) -> None:
                body = json.dumps(content).encode()
                self.send_response(code)
                self.send_header("Content-Type", "application/json; charset=UTF-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.raw: bytes | None = None
        self.may_see_times = True
        self.forbidden: set[str] = set()
        self.held: set[str] = set()
        self._secrets: dict[str, list[tuple[bytes, str]]] = {}
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def add(self, secret: str, value: bytes) -> None:
        """Add a version."""
        created = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        self._secrets.setdefault(secret, []).append((value, created))

    def look_up(self, path: str) -> tuple[int, Any]:
        """Return status and body."""
        found = _VERSION.match(path)
        secret, version, access = found.groups() if found else ("", "", "")
        if secret in self.forbidden or (not access and not self.may_see_times):
            return 403, {"error": {"code": 403, "status": "PERMISSION_DENIED", "message": "denied"}}
        versions = self._secrets.get(secret, [])
        number = len(versions) if version == "latest" else int(version or 0)
        if not 0 < number <= len(versions):
            return 404, {"error": {"code": 404, "status": "NOT_FOUND", "message": "not found"}}
        value, created = versions[number - 1]
        name = f"{secret}/versions/{number}"
        if not access:
            return 200, {"name": name, "createTime": created, "state": "ENABLED"}
        return 200, {"name": name, "payload": {"data": base64.b64encode(value).decode()}}

    def credentials(self, folder: Path) -> Path:
        """Write a service account's key whose token endpoint is here."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        path = folder / "service-account.json"
        content = {
            "type": "service_account", "project_id": "x", "private_key_id": "1", "private_key": pem,
            "client_email": "gateway@x.iam.gserviceaccount.com", "client_id": "1", "token_uri": f"{self.url}/token",
        }  # fmt: skip
        path.write_text(json.dumps(content))
        return path

    def close(self) -> None:
        """Stop it."""
        self._server.shutdown()
        self._server.server_close()
