"""The Go client as other teams get it: the module of `make stubs`, and the code in its README."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.deploy.document_lines import texts
from tests.gateway_process import GatewayProcess
from tests.sandbox_process import SandboxProcess
from tools import go_module, go_tools

CLIENT = go_module.CLIENT
README = (CLIENT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```go\n(.*?)```", README, re.DOTALL)
ENDS = ("_ = client; return err", "return nil", "return nil", "_ = results; return err", "")
"""What makes a function of each block that is no whole file."""
PACKAGES = {
    "context": "context",
    "errors": "errors",
    "http": "net/http",
    "io": "io",
    "log": "log",
    "net": "net",
    "proto": "google.golang.org/protobuf/proto",
    "testing": "testing",
    "time": "time",
    "gateway": go_module.MODULE,
    "gatewaytest": f"{go_module.MODULE}/gatewaytest",
    "gatewayv1": f"{go_module.MODULE}/v1",
}
GO_MOD = """module example.com/caller

go 1.24.0

replace {module} => {client}

require {module} v0.0.0
{requires}
"""

# Go compiles grpc-go once a machine.
pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]
Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run Go in a folder, without a network. Returns its output."""
    try:
        go_tools.run_go(["mod", "download"], CLIENT)
    except go_tools.NotBuilt as failed:
        pytest.skip(f"{failed}: install Go 1.24 or later, and let it reach a module proxy")

    def run_in(folder: Path, *arguments: str | Path, **environ: str) -> str:
        done = subprocess.run(
            [str(shutil.which("go")), *(str(one) for one in arguments)],
            cwd=folder, env={**os.environ, "GOPROXY": "off", "CGO_ENABLED": "0", **environ},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=420, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run_in


def test_the_module_is_downloaded_from_the_stubs(run: Run, tmp_path: Path) -> None:
    """Go accepts the zip, and finds every file of the client in it, at the version of the project."""
    packed = go_module.write_module(tmp_path / "go", "1.2.3")
    again = go_module.write_module(tmp_path / "again", "1.2.3")
    assert packed.read_bytes() == again.read_bytes()
    proxy = {"GOPROXY": (tmp_path / "go").as_uri(), "GONOSUMDB": "phoenix.internal", "GOFLAGS": "-modcacherw"}
    wanted = f"{go_module.MODULE}@latest"
    found = json.loads(run(tmp_path, "mod", "download", "-json", wanted, GOMODCACHE=str(tmp_path / "cache"), **proxy))
    assert found["Version"] == "v1.2.3"
    files = {str(path.relative_to(found["Dir"])) for path in Path(found["Dir"]).rglob("*") if path.is_file()}
    assert files == {str(path.relative_to(CLIENT)) for path in CLIENT.rglob("*") if path.is_file()} | {"LICENSE"}


def test_the_commands_of_the_readme(run: Run, tmp_path: Path) -> None:
    """They add the module of the stubs, and all that its first program needs, to a module elsewhere."""
    go_module.write_module(tmp_path / "go", "1.2.3")
    caller = tmp_path / "caller"
    caller.mkdir()
    run(caller, "mod", "init", "example.com/caller")
    (commands,) = texts(CLIENT / "README.md", "sh")
    for shown, here in {
        "/path/to/build/stubs/go": str(tmp_path / "go"),
        "https://proxy.golang.org": f"file://{run(caller, 'env', 'GOMODCACHE').strip()}/cache/download",
    }.items():
        assert shown in commands
        commands = commands.replace(shown, here)
    (caller / "main.go").write_text(BLOCKS[0], encoding="utf-8")
    environ = {**os.environ, "GOSUMDB": "off", "GOFLAGS": "-modcacherw", "GOMODCACHE": str(tmp_path / "cache")}
    script = f"{commands}\ngo list -deps ."
    done = subprocess.run(
        ["bash", "-euc", script], cwd=caller, env=environ, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert {go_module.MODULE, f"{go_module.MODULE}/v1", "google.golang.org/grpc"} <= set(done.stdout.split())
    assert f"{go_module.MODULE} v1.2.3" in (caller / "go.mod").read_text()


def test_another_major_version_needs_another_path(tmp_path: Path) -> None:
    """Go would refuse it at each caller."""
    with pytest.raises(SystemExit, match=f"{go_module.MODULE}/v2"):
        go_module.write_module(tmp_path, "2.0.0")


def test_the_code_of_the_readme(run: Run, gateway: GatewayProcess, sandbox: SandboxProcess, tmp_path: Path) -> None:
    """The program of the first five minutes prints a board, the test passes, and all other code compiles."""
    requires = re.search(r"require \(.*?\)\n", (CLIENT / "go.mod").read_text(), re.DOTALL)
    assert requires is not None
    module = {"module": go_module.MODULE, "client": str(CLIENT), "requires": requires[0]}
    (tmp_path / "go.mod").write_text(GO_MOD.format(**module))
    shutil.copy(CLIENT / "go.sum", tmp_path)
    program, *parts, test = BLOCKS
    for name, text in {
        "main.go": program.replace("127.0.0.1:50051", gateway.address),
        "parts.go": _parts(parts),
        "readme_test.go": _with_imports(test),
    }.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert run(tmp_path, "run", "-mod=mod", ".").split() == ["1", "ada", "50"]
    command = str(Path(sys.executable).with_name("phoenix-gateway"))
    run(tmp_path, "test", "-mod=mod", ".", PHOENIX_GATEWAY_COMMAND=command)


def _parts(parts: list[str]) -> str:
    given = (
        "ctx context.Context, client *gateway.Client, request *gatewayv1.SubmitEventRequest, "
        "events []*gatewayv1.Event, show func(*gatewayv1.Leaderboard)"
    )
    functions = [
        f"func part{number}({given}) error {{\n{text}\n{end}\n}}\n"
        for number, (text, end) in enumerate(zip(parts, ENDS, strict=True))
    ]
    return _with_imports("\n".join(functions))


def _with_imports(code: str) -> str:
    used = [f'{name} "{path}"' for name, path in PACKAGES.items() if re.search(rf"(?<![\w.]){name}\.", code)]
    return "package main\n\nimport (\n" + "\n".join(used) + "\n)\n\n" + code
