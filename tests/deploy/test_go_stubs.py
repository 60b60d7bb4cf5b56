"""`make stubs` for Go: what the real buf generates from it compiles, and the program calls a gateway."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.gateway_process import GatewayProcess
from tools import check_protos, go_tools, stubs

CLIENT = Path(__file__).parent / "go_client"
PLUGINS = {
    "protoc-gen-go": ("google.golang.org/protobuf/cmd/protoc-gen-go", "v1.36.6"),
    "protoc-gen-go-grpc": ("google.golang.org/grpc/cmd/protoc-gen-go-grpc", "v1.5.1"),
}
_RULES_MODULE = "buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go"

# Go compiles grpc-go once a machine.
pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

Run = Callable[..., str]


@pytest.fixture(scope="module")
def buf() -> Path:
    """The real buf."""
    found = check_protos.install()
    if found is None:
        pytest.skip("buf cannot be installed with npm")
    return found


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a command with the plugins on its PATH and no way to download a module. Returns its output."""
    folder = tmp_path / "bin"
    folder.mkdir()
    try:
        for name, (package, version) in PLUGINS.items():
            (folder / name).symlink_to(go_tools.installed(package, version))
        go_tools.run_go(["mod", "download"], CLIENT)
    except go_tools.NotBuilt as failed:
        pytest.skip(str(failed))
    environ = {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "GOPROXY": "off", "CGO_ENABLED": "0"}

    def run_in(folder: Path, *command: str | Path) -> str:
        done = subprocess.run(
            [str(part) for part in command],
            cwd=folder, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=420, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run_in


@pytest.mark.parametrize("template", ["buf.gen.yaml", "buf.gen.managed.yaml"])
@pytest.mark.parametrize("plain", [False, True], ids=["with rules", "plain"])
def test_generated_go_code_calls_a_gateway(
    plain: bool, template: str, buf: Path, run: Run, tmp_path: Path, gateway: GatewayProcess
) -> None:
    """Nothing is registered twice, so the program starts; it calls, and reads the reason of a refusal."""
    module = shutil.copytree(CLIENT, tmp_path / "module")
    stubs.write_protos(tmp_path / "stubs", plain=plain)
    run(tmp_path / "stubs", buf, "generate", "--template", template, "-o", module)
    assert [path.name for path in (module / "gen").iterdir()] == ["gateway"]
    assert [path for path in module.rglob("*.pb.go") if plain and _RULES_MODULE in path.read_text()] == []
    run(module, "go", "build", "-o", "client", ".")
    keys, reason = run(module, module / "client", gateway.address).split()
    assert (int(keys) > 0, reason) == (True, "INVALID_FIELD")
