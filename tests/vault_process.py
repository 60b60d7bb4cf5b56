"""A real Vault for tests: HashiCorp's code with few plugins, built once a machine with Go (tests/vault_server/go)."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import httpx

from tests.ports import free_port
from tools import go_tools

SOURCE = Path(__file__).parent / "vault_server" / "go"
START_WITHIN_S = 60.0
BUILD_WITHIN_S = go_tools.BUILD_WITHIN_S


def program() -> Path:
    """Return the program. Raises: NotBuilt; for an hour then, so that the tests do not wait for it again and again."""
    failed = go_tools.cache_folder() / "vault-not-built"
    if failed.exists() and time.time() - failed.stat().st_mtime < 3600:
        raise go_tools.NotBuilt(failed.read_text())
    try:
        return go_tools.built(SOURCE, slow=True)
    except go_tools.NotBuiltNow:
        raise
    except go_tools.NotBuilt as reason:
        failed.parent.mkdir(parents=True, exist_ok=True)
        failed.write_text(str(reason))
        raise


class VaultProcess:
    """One server on one port. Its state outlives a kill."""

    def __init__(self, folder: Path, *, certificate: tuple[Path, Path] | None = None, ca: Path | None = None) -> None:
        """Args: `certificate`: chain and key for TLS; `ca`: what the tests' own requests trust then."""
        self._program = self._find_program()
        self._folder = folder
        self._certificate = certificate
        self._process: subprocess.Popen[Any] | None = None
        self.port = free_port()
        self.address = f"{'http' if certificate is None else 'https'}://127.0.0.1:{self.port}"
        self._state: dict[str, str] = {}
        self._http = httpx.Client(verify=str(ca) if ca else True, timeout=20, trust_env=False)

    def _find_program(self) -> Path:
        return program()

    @property
    def root_token(self) -> str:
        """May do everything."""
        return self._state["root_token"]

    def start(self) -> None:
        """Start it, unsealed, and wait until it answers."""
        files = (
            []
            if self._certificate is None
            else [f"-tls-cert={self._certificate[0]}", f"-tls-key={self._certificate[1]}"]
        )
        with (self._folder / "log").open("a") as log:
            self._process = subprocess.Popen(
                [self._program, f"-listen=127.0.0.1:{self.port}", f"-data={self._folder}", *files],
                stdout=subprocess.PIPE, stderr=log, text=True, env={"PATH": os.environ["PATH"]},
            )  # fmt: skip
        given_up = threading.Timer(START_WITHIN_S, self._process.kill)
        given_up.start()
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        given_up.cancel()
        assert line, (self._folder / "log").read_text()[-2000:]
        self._state = json.loads(line)
        while self._http.get(f"{self.address}/v1/sys/health").status_code != 200:
            assert self._process.poll() is None

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def close(self) -> None:
        """End it and the tests' connections."""
        self.kill()
        self._http.close()

    def seal(self) -> None:
        """Seal it, as an operator does in an emergency."""
        self("POST", "sys/seal")

    def unseal(self) -> None:
        """Unseal it."""
        key = base64.b64decode(self._state["unseal_key"]).hex()
        self("POST", "sys/unseal", {"key": key})

    def __call__(self, method: str, path: str, body: Any = None, *, token: str | None = None) -> dict[str, Any]:
        """Call its API as root, or with this token. Fails on an error."""
        answer = self._http.request(
            method, f"{self.address}/v1/{path}", json=body, headers={"X-Vault-Token": token or self.root_token}
        )
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        found: dict[str, Any] = answer.json() if answer.content else {}
        return found

    def mount(self, path: str, kind: str, **options: str) -> None:
        """Mount an engine, and wait until KV v2 takes writes."""
        self("POST", f"sys/mounts/{path}", {"type": kind, "options": options})
        while options.get("version") == "2":
            answer = self._http.post(
                f"{self.address}/v1/{path}/data/ready",
                json={"data": {"x": "y"}},
                headers={"X-Vault-Token": self.root_token},
            )
            if answer.is_success:
                return

    def policy(self, name: str, rules: dict[str, list[str]]) -> None:
        """Write a policy: capabilities by path."""
        text = "\n".join(f'path "{path}" {{ capabilities = {json.dumps(able)} }}' for path, able in rules.items())
        self("POST", f"sys/policies/acl/{name}", {"policy": text})

    def token(self, *policies: str, **options: Any) -> str:
        """Return a new token with these policies."""
        made = self("POST", "auth/token/create", {"policies": list(policies), **options})
        return str(made["auth"]["client_token"])
