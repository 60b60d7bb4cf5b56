"""`make stubs` and `make docs`: what other teams get."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from tests.gateway_process import GatewayProcess
from tools import stubs
from tools.docs import api

CALL = """
import sys, grpc
from gateway.v1 import keys_pb2, keys_pb2_grpc
assert "gateway.server" not in sys.modules
with grpc.insecure_channel(sys.argv[1]) as channel:
    answer = keys_pb2_grpc.KeyServiceStub(channel).ListKeys(keys_pb2.ListKeysRequest(), timeout=20)
print(len(answer.keys))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, unpacked as an installer would."""
    made = stubs.write_wheel(tmp_path_factory.mktemp("wheel"))
    target = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(made) as archive:
        archive.extractall(target)
    return target


def test_the_wheel_calls_a_gateway(gateway: GatewayProcess, wheel: Path) -> None:
    """Its code is sufficient: nothing of the gateway is imported."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", CALL, gateway.address],
        cwd=wheel, env={"PYTHONPATH": str(wheel)}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, int(done.stdout or 0) > 0) == (0, True), done.stderr


def test_the_wheel_is_the_same_each_time(tmp_path: Path) -> None:
    """Alike protos give alike bytes."""
    first = stubs.write_wheel(tmp_path).read_bytes()
    assert stubs.write_wheel(tmp_path).read_bytes() == first


def test_the_protos_are_whole(tmp_path: Path) -> None:
    """Every import is there or is one of protoc's own."""
    stubs.copy_protos(tmp_path)
    imports = {
        line.split('"')[1]
        for path in tmp_path.rglob("*.proto")
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.startswith("import ")
    }
    missing = {name for name in imports if not (tmp_path / name).exists()}
    assert {name for name in missing if not name.startswith("google/protobuf/")} == set()


def test_the_descriptors_name_every_service(tmp_path: Path) -> None:
    """One file serves tools where reflection is not allowed."""
    target = tmp_path / "descriptors.binpb"
    stubs.write_descriptors(target)
    files = FileDescriptorSet.FromString(target.read_bytes()).file
    services = {service.name for file in files for service in file.service}
    assert services >= {"EventService", "WalletService", "TokenService", "KeyService"}


def test_every_method_has_a_chapter() -> None:
    """The page names each RPC with its right."""
    text = api.page()
    assert ("### WalletService.VerifyWallet" in text, "Right `wallet.verify`; at most 5 s." in text) == (True, True)
