"""What tests of clients in other languages share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.driver import DrivenClient
from tests.clients.secured_gateway import Secured, secured_gateway
from tests.sandbox_process import SandboxProcess
from tools import java_client, typescript_client
from tools.go_tools import NotBuilt


@pytest.fixture(scope="session")
def typescript() -> Path:
    """The folder of the built TypeScript client. Skips without Node or npm's registry."""
    try:
        return typescript_client.built()
    except NotBuilt as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def java() -> Path:
    """The folder of the built Java client. Skips without a JDK, Maven or its artifacts."""
    try:
        return java_client.built()
    except NotBuilt as missing:
        pytest.skip(f"{missing}: install a JDK 17 or later with Maven, and let it reach a repository")


@pytest.fixture(scope="module")
def client(java: Path) -> Iterator[DrivenClient]:
    """A process with one Java client, which each test connects."""
    with DrivenClient(java_client.command("Driver")) as process:
        yield process


@pytest.fixture(scope="module")
def secured(sandbox_process: SandboxProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """A gateway that asks for certificates."""
    with secured_gateway(sandbox_process, tmp_path_factory.mktemp("tls")) as gateway:
        yield gateway
