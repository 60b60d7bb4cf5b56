"""A gateway with mutual TLS for the tests of all clients, and files of callers: right, expired, foreign."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from tests.certificates import Authority
from tests.gateway_process import GatewayProcess, of_sandbox
from tests.sandbox_process import SandboxProcess

CALLER = "spiffe://test/caller"
_POLICY = """
[[callers]]
name = "caller"
ids = ["spiffe://test/caller"]
allow = ["keys.read"]
tenants = ["*"]
operators = ["*"]
"""


class Secured(NamedTuple):
    """A gateway with mutual TLS. `folder` has ca.pem and a caller's good.pem and good.key."""

    address: str
    folder: Path
    authority: Authority

    def tls(self, name: str = "good", ca: str = "ca.pem", **more: str) -> dict[str, str]:
        """The files of a caller."""
        own = {"certFile": str(self.folder / f"{name}.pem"), "keyFile": str(self.folder / f"{name}.key")}
        return {"caFile": str(self.folder / ca), **(own if name else {}), **more}


@contextmanager
def secured_gateway(sandbox: SandboxProcess, folder: Path) -> Iterator[Secured]:
    """Run a gateway that asks for certificates. Args: `folder`: gets the files."""
    authority = Authority()
    (folder / "ca.pem").write_bytes(authority.certificate)
    (folder / "old-ca.pem").write_bytes(Authority("Old CA").certificate)
    authority.issue(CALLER).write(folder, "good")
    authority.issue(CALLER, begins=timedelta(days=-2), ends=timedelta(days=-1)).write(folder, "expired")
    Authority("Other CA").issue(CALLER).write(folder, "foreign")
    certificate, key = authority.issue("127.0.0.1", "gateway.test", for_clients=False).write(folder, "server")
    (folder / "policy.toml").write_text(_POLICY)
    settings = {
        **of_sandbox(sandbox.urls, sandbox.environ),
        "GATEWAY_TLS_CERT_FILE": str(certificate),
        "GATEWAY_TLS_KEY_FILE": str(key),
        "GATEWAY_TLS_CLIENT_CA_FILE": str(folder / "ca.pem"),
        "GATEWAY_CONFIG": str(folder / "policy.toml"),
    }
    with GatewayProcess(settings, credentials=authority.credentials(authority.issue(CALLER))) as process:
        yield Secured(process.address, folder, authority)
