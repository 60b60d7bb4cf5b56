"""The one call of the Kubernetes API that a login of Vault needs: TokenReview, as its published reference describes it.

It shares no code with the gateway or with Kubernetes. A service account's token is a JWT that this server remembers.
"""

from __future__ import annotations

import json
import ssl
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.certificates import Authority

_PATH = "/apis/authentication.k8s.io/v1/tokenreviews"


class KubernetesApi:
    """A server on a free port of loopback, with TLS. `reviewer`: the token of whoever may ask; `ca`: its authority."""

    def __init__(self, folder: Path) -> None:
        """Args: `folder`: for the files of its certificate."""
        self.reviewer = f"reviewer-{uuid.uuid4()}"
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._accounts: dict[str, dict[str, Any]] = {}
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if self.headers["Authorization"] != f"Bearer {api.reviewer}":
                    self.answer(401, {"kind": "Status", "status": "Failure", "code": 401})
                elif self.path != _PATH:
                    self.answer(404, {"kind": "Status", "status": "Failure", "code": 404})
                else:
                    self.answer(201, {**asked, "status": api.review(asked["spec"]["token"])})

            def answer(self, status: int, content: dict[str, Any]) -> None:
                body = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name in the base class
                pass

        authority = Authority("Cluster CA")
        self.ca = authority.certificate.decode()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*authority.issue("127.0.0.1").write(folder, "kubernetes"))
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def token(self, account: str, namespace: str = "shop") -> str:
        """Make a token, as the platform mounts it into a pod."""
        uid = str(uuid.uuid4())
        user = f"system:serviceaccount:{namespace}:{account}"
        now = int(time.time())
        claims = {
            "iss": "https://kubernetes.default.svc",
            "aud": ["https://kubernetes.default.svc"],
            "sub": user,
            "iat": now - 10,
            "nbf": now - 10,
            "exp": now + 3600,
            "kubernetes.io": {"namespace": namespace, "serviceaccount": {"name": account, "uid": uid}},
        }
        made = jwt.encode(claims, self._key, algorithm="RS256")
        self._accounts[made] = {"username": user, "uid": uid, "groups": [f"system:serviceaccounts:{namespace}"]}
        return made

    def forget(self, token: str) -> None:
        """End a token, as with its pod."""
        del self._accounts[token]

    def review(self, token: str) -> dict[str, Any]:
        """Return the status of a token."""
        user = self._accounts.get(token)
        if user is None:
            return {"authenticated": False, "error": "unknown token"}
        return {"authenticated": True, "user": user, "audiences": ["https://kubernetes.default.svc"]}

    def close(self) -> None:
        """Stop it."""
        self._server.shutdown()
        self._server.server_close()
