"""moto's server: AWS as its users emulate it. Installed on demand below the user's cache, because it is large."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import httpx

from tests.ports import free_port
from tests.pypi_programs import INSTALL_WITHIN_S, installed

__all__ = ["INSTALL_WITHIN_S", "MotoProcess"]

VERSION = "5.2.5"
AWS_CLI = "1.46.3"
START_WITHIN_S = 60.0


def program() -> Path:
    """Return moto_server in a pinned version, installed if it is missing. Raises: NotBuilt."""
    wanted = f"moto[secretsmanager,server,kms,iam]=={VERSION}", f"awscli=={AWS_CLI}"
    return installed(f"moto-{VERSION}-awscli-{AWS_CLI}", *wanted) / "bin" / "moto_server"


class MotoProcess:
    """One server on one port, without state over a restart."""

    def __init__(self) -> None:
        self._program = program()
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    @property
    def environ(self) -> dict[str, str]:
        """What a client needs to find it, as every AWS tool reads it."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_REGION": "eu-west-1",
            "AWS_DEFAULT_REGION": "eu-west-1",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "planted-aws-secret-key",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    @property
    def programs(self) -> Path:
        """The folder of `aws`, Amazon's command line."""
        return self._program.parent

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._process = subprocess.Popen(
            [self._program, "-H", "127.0.0.1", "-p", str(self.port)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={"PATH": os.environ["PATH"]},
        )  # fmt: skip
        until = time.monotonic() + START_WITHIN_S
        while True:
            try:
                httpx.get(f"{self.url}/moto-api/", trust_env=False)
                return
            except httpx.HTTPError:
                assert time.monotonic() < until
                assert self._process.poll() is None
                time.sleep(0.05)

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None
