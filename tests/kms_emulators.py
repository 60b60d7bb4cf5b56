"""Emulators of AWS KMS and of Google Cloud KMS for Ed25519, from their published APIs. No code of ours is in them.

Neither moto nor Google has an emulator that signs with Ed25519. Requests come from the real client libraries
(botocore, google-auth). Signatures of requests (SigV4) are only required, not verified. Google's token route is
emulated too, so that a service account's file works as it does there.
"""

from __future__ import annotations

import base64
import json
import re
import threading
import time
import uuid
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat


class Refused(Exception):
    """An answer that is no success: status, code and text."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status, self.code = status, code


class KmsEmulator:
    """A server on a free port. `requests` counts the operations; `fault` makes every signing request go wrong."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.fault = ""
        """slow, garbage, not_json, wrong_key, denied, or "" for none."""
        self.slow_s = 10.0
        emulator = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                self._answer()

            def do_POST(self) -> None:
                self._answer()

            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                if emulator._server is None:
                    self.close_connection = True  # a connection from before `stop`
                    return
                try:
                    status, content = 200, json.dumps(emulator.answer(self, body)).encode()
                except Refused as refusal:
                    status, content = refusal.status, json.dumps(emulator.refusal(refusal)).encode()
                if emulator.fault == "not_json" and status == 200:
                    content = b"<html>503 Backend fetch failed</html>"
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name in the base class
                pass

        self._handler = Handler
        self._server: ThreadingHTTPServer | None = None
        self.port = 0

    def answer(self, request: BaseHTTPRequestHandler, body: bytes) -> dict[str, Any]:
        """Return the answer. Raises: Refused."""
        raise NotImplementedError

    def refusal(self, refusal: Refused) -> dict[str, Any]:
        """Return the body of a refusal."""
        raise NotImplementedError

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Self:
        """Listen; after `stop`, on the same port."""
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), self._handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def stop(self) -> None:
        """Listen no more, as a service that is gone."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def signed(self, key: Ed25519PrivateKey, message: bytes) -> bytes:
        """Return what a signing request gets. Raises: Refused."""
        if self.fault == "slow":
            time.sleep(self.slow_s)
        if self.fault == "denied":
            raise Refused(403, "AccessDeniedException")
        if self.fault == "garbage":
            return b"garbage"
        return (Ed25519PrivateKey.generate() if self.fault == "wrong_key" else key).sign(message)


class AwsKms(KmsEmulator):
    """AWS KMS, API version 2014-11-01: what the gateway uses of it."""

    def __init__(self) -> None:
        super().__init__()
        self.keys: dict[str, Ed25519PrivateKey] = {}
        self.aliases: dict[str, tuple[str, float]] = {}
        self.other_spec = ""
        self.page = 2
        self.rights = {"kms:Sign", "kms:GetPublicKey", "kms:ListAliases", "kms:DescribeKey"}

    def create_key(self, alias: str, at: float | None = None) -> str:
        """Create a key with an alias; return its id."""
        key_id = str(uuid.uuid4())
        self.keys[key_id] = Ed25519PrivateKey.generate()
        self.aliases[alias] = (key_id, time.time() if at is None else at)
        return key_id

    def answer(self, request: BaseHTTPRequestHandler, body: bytes) -> dict[str, Any]:
        operation = request.headers.get("x-amz-target", "").removeprefix("TrentService.")
        self.requests.append(operation)
        if not request.headers.get("authorization", "").startswith("AWS4-HMAC-SHA256 Credential="):
            raise Refused(400, "MissingAuthenticationTokenException")
        wanted = json.loads(body)
        if operation in ("CreateKey", "CreateAlias"):
            return self._administer(operation, wanted)
        if operation != "ListAliases" and wanted["KeyId"] not in self.keys:
            raise Refused(400, "NotFoundException")
        if f"kms:{operation}" not in self.rights:
            raise Refused(400, "AccessDeniedException")
        if operation == "ListAliases":
            names = sorted(self.aliases)
            first = int(wanted.get("Marker", 0))
            shown = names[first : first + self.page]
            rows = [
                {"AliasName": name, "AliasArn": f"arn:aws:kms:eu-central-1:111122223333:{name}", "TargetKeyId": key}
                | {"CreationDate": at, "LastUpdatedDate": at}
                for name in shown
                for key, at in [self.aliases[name]]
            ]
            more = first + self.page < len(names)
            return {"Aliases": rows, "Truncated": more} | ({"NextMarker": str(first + self.page)} if more else {})
        key_id = wanted["KeyId"]
        key = self.keys[key_id]
        if operation == "DescribeKey":
            return {"KeyMetadata": {"KeyId": key_id, "AWSAccountId": "111122223333"}}
        if operation == "GetPublicKey":
            return {
                "KeyId": key_id,
                "PublicKey": base64.b64encode(_spki(key)).decode(),
                "KeySpec": self.other_spec or "ECC_NIST_EDWARDS25519",
                "KeyUsage": "SIGN_VERIFY",
                "SigningAlgorithms": ["ED25519_SHA_512", "ED25519_PH_SHA_512"],
            }
        if operation == "Sign":
            if wanted["SigningAlgorithm"] != "ED25519_SHA_512" or wanted["MessageType"] != "RAW":
                raise Refused(400, "ValidationException")
            signature = self.signed(key, base64.b64decode(wanted["Message"]))
            return {
                "KeyId": key_id,
                "Signature": base64.b64encode(signature).decode(),
                "SigningAlgorithm": "ED25519_SHA_512",
            }
        if operation == "CreateGrant" and wanted.get("DryRun"):
            raise Refused(400, "DryRunOperationException")
        if operation == "GetKeyPolicy":
            return {"Policy": "{}", "PolicyName": "default"}
        raise Refused(400, "UnknownOperationException")

    def _administer(self, operation: str, wanted: dict[str, Any]) -> dict[str, Any]:
        if operation == "CreateKey":
            if (wanted["KeySpec"], wanted["KeyUsage"]) != ("ECC_NIST_EDWARDS25519", "SIGN_VERIFY"):
                raise Refused(400, "ValidationException")
            key_id = str(uuid.uuid4())
            self.keys[key_id] = Ed25519PrivateKey.generate()
            return {"KeyMetadata": {"KeyId": key_id, "KeySpec": wanted["KeySpec"], "KeyUsage": wanted["KeyUsage"]}}
        if wanted["AliasName"] in self.aliases or not wanted["AliasName"].startswith("alias/"):
            raise Refused(400, "AlreadyExistsException")
        if wanted["TargetKeyId"] not in self.keys:
            raise Refused(400, "NotFoundException")
        self.aliases[wanted["AliasName"]] = (wanted["TargetKeyId"], time.time())
        return {}

    def refusal(self, refusal: Refused) -> dict[str, Any]:
        return {"__type": refusal.code, "message": "User: arn:aws:iam::111122223333:user/x is not authorized"}


class GcpKms(KmsEmulator):
    """Cloud KMS v1, and the token route of a service account."""

    key_name = "projects/acme/locations/europe-west1/keyRings/phoenix/cryptoKeys/launch"

    def __init__(self) -> None:
        super().__init__()
        self.keys: dict[str, Ed25519PrivateKey] = {}
        self.created: dict[str, float] = {}
        self.disabled: set[str] = set()
        self.other_algorithm = ""
        self.page = 2
        self.held: set[str] = set()
        self.tokens = 0

    def create_version(self, at: float | None = None) -> str:
        """Create a version; return its number."""
        number = str(len(self.keys) + 1)
        self.keys[number] = Ed25519PrivateKey.generate()
        self.created[number] = time.time() if at is None else at
        return number

    def service_account(self) -> dict[str, str]:
        """Return the file that Google would issue, with this server as the issuer of tokens."""
        private = generate_private_key(65537, 2048)
        pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        return {
            "type": "service_account",
            "project_id": "acme",
            "private_key_id": "1",
            "private_key": pem,
            "client_email": "gateway@acme.iam.gserviceaccount.com",
            "client_id": "1",
            "token_uri": f"{self.url}/token",
        }

    def answer(self, request: BaseHTTPRequestHandler, body: bytes) -> dict[str, Any]:
        path, _, query = request.path.partition("?")
        if path == "/token":
            self.tokens += 1
            return {"access_token": f"ya29.planted-{self.tokens}", "expires_in": 3600, "token_type": "Bearer"}
        if not request.headers.get("authorization", "").startswith(("Bearer ya29.planted-", "Bearer administrator")):
            raise Refused(401, "UNAUTHENTICATED")
        if request.command == "POST" and path == f"/v1/{self.key_name.rpartition('/')[0]}":
            wanted = json.loads(body)
            made = wanted["purpose"], wanted["versionTemplate"]["algorithm"], query
            if made != ("ASYMMETRIC_SIGN", "EC_SIGN_ED25519", f"cryptoKeyId={self.key_name.rpartition('/')[2]}"):
                raise Refused(400, "INVALID_ARGUMENT")
            self.create_version()
            return {"name": self.key_name, "purpose": wanted["purpose"]}
        below = re.fullmatch(rf"/v1/{re.escape(self.key_name)}(.*)", path)
        if below is None:
            raise Refused(404, "NOT_FOUND")
        rest = below[1]
        self.requests.append(f"{request.command} {re.sub('[0-9]+', 'N', rest)}")
        if rest == "/cryptoKeyVersions" and request.command == "POST":
            return {"name": f"{self.key_name}/cryptoKeyVersions/{self.create_version()}"}
        if rest == "/cryptoKeyVersions":
            return self._list(query)
        if rest == ":testIamPermissions":
            return {"permissions": [one for one in json.loads(body)["permissions"] if one in self.held]}
        one = re.fullmatch(r"/cryptoKeyVersions/([0-9]+)(/publicKey|:asymmetricSign)", rest)
        if one is None or one[1] not in self.keys:
            raise Refused(404, "NOT_FOUND")
        key, name = self.keys[one[1]], f"{self.key_name}/cryptoKeyVersions/{one[1]}"
        if one[2] == "/publicKey":
            pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
            return {"pem": pem, "algorithm": "EC_SIGN_ED25519", "name": name}
        signature = self.signed(key, base64.b64decode(json.loads(body)["data"]))
        return {"signature": base64.b64encode(signature).decode(), "name": name, "protectionLevel": "HSM"}

    def refusal(self, refusal: Refused) -> dict[str, Any]:
        status = {"AccessDeniedException": "PERMISSION_DENIED"}.get(refusal.code, refusal.code)
        return {"error": {"code": refusal.status, "message": "Permission denied on resource", "status": status}}

    def _list(self, query: str) -> dict[str, Any]:
        token = re.search(r"pageToken=([0-9]+)", query)
        first = int(token[1]) if token else 0
        numbers = list(self.keys)
        rows = [
            {
                "name": f"{self.key_name}/cryptoKeyVersions/{number}",
                "state": "DISABLED" if number in self.disabled else "ENABLED",
                "algorithm": self.other_algorithm or "EC_SIGN_ED25519",
                "createTime": datetime.fromtimestamp(self.created[number], UTC).isoformat().replace("+00:00", "Z"),
                "protectionLevel": "HSM",
            }
            for number in numbers[first : first + self.page]
        ]
        more = first + self.page < len(numbers)
        return {"cryptoKeyVersions": rows} | ({"nextPageToken": str(first + self.page)} if more else {})


def _spki(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
