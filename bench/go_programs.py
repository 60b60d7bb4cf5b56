"""Builds the Go programs of `bench/go` below build/, with the messages of protos/ that are generated for them.

It needs Go and a C compiler (for SQLite). The sources are copied, because what is generated is not committed. A build
is kept until a source or proto changes.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.resources
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from bench.processes import ROOT, StartFailed

SOURCES = ROOT / "bench" / "go"
TARGET = ROOT / "build" / "bench-go"
BUILD_WITHIN_S = 600
PROTO_FOLDERS = {"gateway/v1": "bench/pb", "buf/validate": "bench/validate"}
"""The import path of the protos of each folder. Its last part is the package's name, whatever the proto's is."""
_PLUGINS = ("google.golang.org/protobuf/cmd/protoc-gen-go", "google.golang.org/grpc/cmd/protoc-gen-go-grpc")


class GoMissing(Exception):
    """Go or a C compiler is not installed. The text says what to install."""


def go_program(name: str) -> Path:
    """Return the path of a program, which is built if it is not up to date. Raises: GoMissing, StartFailed."""
    go = shutil.which("go", path=f"{os.environ.get('PATH', '')}:/usr/local/go/bin")
    if go is None:
        raise GoMissing("Go is not installed; install Go 1.26 or newer and a C compiler")
    if not any(map(shutil.which, ("gcc", "clang", "cc"))):
        raise GoMissing("no C compiler is installed, which Go needs for SQLite; install gcc")
    TARGET.mkdir(parents=True, exist_ok=True)
    with (TARGET / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # concurrent runs wait for one build
        stamp, digest = TARGET / "digest", _digest()
        if not stamp.exists() or stamp.read_text(encoding="ascii") != digest:
            _build(go)
            stamp.write_text(digest, encoding="ascii")
    return TARGET / "bin" / name


def _build(go: str) -> None:
    source, programs = TARGET / "src", TARGET / "bin"
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(SOURCES, source)
    _run([go, "build", "-o", f"{programs}/", *_PLUGINS], source)
    _generate(source, programs)
    _run([go, "build", "-o", f"{programs}/", "./..."], source)


def _generate(source: Path, programs: Path) -> None:
    protos = ROOT / "protos"
    files = [str(path.relative_to(protos)) for folder in PROTO_FOLDERS for path in (protos / folder).glob("*.proto")]
    paths = [(file, PROTO_FOLDERS[str(Path(file).parent)]) for file in files]
    packages = [f"M{file}={path};{path.rpartition('/')[2]}" for file, path in paths]
    with importlib.resources.as_file(importlib.resources.files("grpc_tools") / "_proto") as well_known:
        outputs = [
            argument
            for plugin in ("go", "go-grpc")
            for argument in (
                f"--plugin=protoc-gen-{plugin}={programs / f'protoc-gen-{plugin}'}",
                f"--{plugin}_out={source}",
                *(f"--{plugin}_opt={option}" for option in ("module=bench", *packages)),
            )
        ]
        includes = [f"-I{folder}" for folder in (protos, sysconfig.get_path("purelib"), well_known)]
        _run([sys.executable, "-m", "grpc_tools.protoc", *includes, *outputs, *files], source)


def _run(command: list[str], folder: Path) -> None:
    try:
        done = subprocess.run(  # noqa: S603 - Go and protoc with our own arguments
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=BUILD_WITHIN_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise StartFailed(f"the Go programs were not built within {BUILD_WITHIN_S} s") from None
    if done.returncode != 0:
        raise StartFailed(f"the Go programs cannot be built: {done.stderr.strip()[-600:]}")


def _digest() -> str:
    digest = hashlib.sha256()
    folders = [SOURCES, *(ROOT / "protos" / folder for folder in PROTO_FOLDERS)]
    for path in sorted(path for folder in folders for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(ROOT)}\n".encode() + path.read_bytes())
    return digest.hexdigest()
