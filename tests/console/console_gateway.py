"""A gateway with a console, and a browser of a few lines that asks it."""

from __future__ import annotations

import http.client
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from urllib.parse import urlencode

from tests.gateway_process import GatewayProcess, of_sandbox
from tests.sandbox_process import SandboxProcess

HOSTILE = "<script>alert(1)</script>"
POLICY = """
[[callers]]
name = "local"
allow = ["boards.*", "wallet.*", "events.*", "evidence.*", "keys.read"]
tenants = ["*"]
operators = ["*"]

[[callers]]
name = "console"
allow = ["boards.read", "events.read", "events.redrive", "evidence.read", "evidence.export", "keys.read"]
tenants = ["*"]
operators = ["*"]
"""


@contextmanager
def console_gateway(sandbox: SandboxProcess, **settings: str) -> Iterator[GatewayProcess]:
    """Run a gateway with a console and a policy that names it, on a sandbox without faults."""
    sandbox.control("POST", "/reset", {})
    with tempfile.TemporaryDirectory(prefix="console-") as directory:
        file = Path(directory) / "gateway.toml"
        file.touch(mode=0o600)
        file.write_text(POLICY)
        environ = {
            **of_sandbox(sandbox.urls, sandbox.environ),
            "GATEWAY_CONFIG": str(file),
            "GATEWAY_CONSOLE": "true",
            **settings,
        }
        with GatewayProcess(environ) as process:
            process.wait_serving("phoenix.gateway.v1.WalletService")
            yield process


@dataclass(frozen=True, slots=True)
class Shown:
    """An answer: status, headers in lower case, body."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def words(self) -> str:
        """What a reader sees, without tags, in one line."""
        return " ".join(unescape(re.sub(r"<[^>]*>", " ", self.text)).split())


class Browser:
    """Asks a console as a browser does, and keeps its cookie."""

    def __init__(self, address: str) -> None:
        self._address = address
        self.cookie = ""

    def get(self, path: str, **headers: str) -> Shown:
        """Open a page below /console."""
        return self.ask("GET", path, None, headers)

    def post(self, path: str, fields: Mapping[str, str], **headers: str) -> Shown:
        """Send a form."""
        return self.ask(
            "POST", path, urlencode(fields), {"Content-Type": "application/x-www-form-urlencoded", **headers}
        )

    def ask(self, method: str, path: str, body: str | None, headers: Mapping[str, str]) -> Shown:
        """Send a request and return the answer."""
        connection = http.client.HTTPConnection(self._address, timeout=20)
        try:
            with_cookie = {**({"Cookie": self.cookie} if self.cookie else {}), **headers}
            connection.request(method, f"/console{path}", body, with_cookie)
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        found = {name.lower(): value for name, value in answer.getheaders()}
        if cookie := found.get("set-cookie"):
            self.cookie = cookie.partition(";")[0]
        return Shown(answer.status, found, text)
