"""`make stubs` for Java and TypeScript: what the real buf generates from it compiles; and the command for Python."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools import check_protos, java_client, stubs, typescript_client
from tools.go_tools import NotBuilt

pytestmark = [pytest.mark.timeout(900), pytest.mark.faults]
both_sets = pytest.mark.parametrize("plain", [False, True], ids=["with rules", "plain"])


@pytest.fixture(scope="module")
def buf() -> Path:
    """The real buf."""
    found = check_protos.install()
    if found is None:
        pytest.skip("buf cannot be installed with npm")
    return found


def generate(buf: Path, stubs_folder: Path, language: str, plain: bool, programs: Path) -> Path:
    """Run buf as the README of the stubs says, with these programs on the PATH; return what it wrote."""
    stubs.write_protos(stubs_folder, plain=plain)
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    run(stubs_folder, buf, "generate", "--template", f"buf.gen.{language}.yaml", PATH=path)
    return stubs_folder / "gen"


@both_sets
def test_java(plain: bool, buf: Path, tmp_path: Path) -> None:
    """Compiled against grpc-java and what others publish, without a second copy of their classes."""
    try:
        target = java_client.built() / "target"
    except NotBuilt as failed:
        pytest.skip(str(failed))
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("protoc-gen-grpc-java", "protoc"):
        (found,) = (one for one in target.glob(f"protoc-plugins/{name}-*") if one.name[len(name) + 1].isdigit())
        (programs / name).symlink_to(found)
    generated = generate(buf, tmp_path / "stubs", "java", plain, programs)
    assert [one.name for one in generated.iterdir()] == ["phoenix"]
    sources = sorted(map(str, generated.rglob("*.java")))
    assert any("build.buf.validate" in Path(one).read_text() for one in sources) is not plain
    if not plain:  # their classes come from another package, which this machine may not have
        return
    run(tmp_path, "javac", "-d", tmp_path / "classes", "-cp", str(target / "dependency/*"), *sources)
    assert (tmp_path / "classes/phoenix/gateway/v1/EventServiceGrpc.class").is_file()


@both_sets
def test_typescript(plain: bool, buf: Path, tmp_path: Path) -> None:
    """Compiled strictly; Node loads it and finds every method of a service."""
    try:
        built = typescript_client.built()
    except NotBuilt as failed:
        pytest.skip(str(failed))
    modules = built / "node_modules"
    generated = generate(buf, tmp_path / "stubs", "typescript", plain, modules / ".bin")
    (tmp_path / "node_modules").symlink_to(modules)
    shutil.copytree(generated, tmp_path / "src")
    (tmp_path / "package.json").write_text('{"type": "module"}')
    files = sorted(str(path) for path in (tmp_path / "src").rglob("*.ts"))
    options = ("--strict", "--module", "nodenext", "--target", "es2022", "--skipLibCheck", "--outDir", "dist")
    run(tmp_path, modules / ".bin" / "tsc", *options, "--rootDir", "src", *files)
    code = "import { EventService } from './dist/gateway/v1/events_pb.js'; console.log(EventService.methods.length)"
    assert int(run(tmp_path, "node", "--input-type=module", "-e", code)) >= 5


def test_python(tmp_path: Path) -> None:
    """The command of the README of the stubs, and the code that it writes."""
    stubs.write_protos(tmp_path, plain=True)
    (tmp_path / "gen").mkdir()
    protos = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.glob("protos/gateway/v1/*.proto"))
    outputs = ("--python_out=gen", "--pyi_out=gen", "--grpc_python_out=gen")
    run(tmp_path, sys.executable, "-m", "grpc_tools.protoc", "-I", "protos", "-I", "imports", *outputs, *protos)
    code = "from gateway.v1 import events_pb2_grpc; print(events_pb2_grpc.EventServiceStub.__name__)"
    assert run(tmp_path / "gen", sys.executable, "-c", code, PYTHONPATH=str(tmp_path / "gen")) == "EventServiceStub\n"


def run(folder: Path, *command: object, **environ: str) -> str:
    """Run to the end and return what it printed. Raises: AssertionError with its messages."""
    done = subprocess.run(
        [str(part) for part in command], cwd=folder, env={**os.environ, **environ}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout
