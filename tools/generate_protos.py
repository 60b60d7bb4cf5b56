"""Generates the Python code of the protos, their rules and the client, or checks that the committed code is current.

It generates into build/ and copies changed files to gateway/v1, buf/validate and the client's package. With `--check`,
it compares and changes nothing. It uses the installed grpcio-tools and mypy-protobuf and needs no network.
"""

from __future__ import annotations

import argparse
import filecmp
import importlib.resources
import shutil
import sys
import sysconfig
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc

from tools.client_code import CLIENT_FILES, CLIENT_FOLDER, write_client
from tools.validation_code import validation_module

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
FOLDERS = ("gateway/v1", "buf/validate")
RULES = "validation.py"
"""Generated in gateway/v1 for the gateway alone."""
GENERATED = ("*_pb2.py", "*_pb2.pyi", "*_pb2_grpc.py", "*_pb2_grpc.pyi", RULES)


def proto_files() -> list[str]:
    """Return every proto to compile, as a path below protos/, in a fixed order."""
    return sorted(str(path.relative_to(PROTOS)) for folder in FOLDERS for path in (PROTOS / folder).glob("*.proto"))


def generate(target: Path) -> None:
    """Compile all protos into `target`. Exit if protoc reports an error."""
    bin_folder = Path(sysconfig.get_path("scripts"))
    plugins = [f"--plugin={name}={bin_folder / name}" for name in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")]
    with importlib.resources.as_file(importlib.resources.files("grpc_tools") / "_proto") as well_known:
        arguments = [
            "protoc",
            f"-I{PROTOS}",
            f"-I{sysconfig.get_path('purelib')}",  # google/rpc/status.proto, of googleapis-common-protos
            f"-I{well_known}",
            *plugins,
            f"--python_out={target}",
            f"--grpc_python_out={target}",
            f"--mypy_out=quiet:{target}",
            f"--mypy_grpc_out=quiet:{target}",
            "--include_imports",
            "--include_source_info",
            f"--descriptor_set_out={target / 'protos.bin'}",
            *proto_files(),
        ]
        status = protoc.main(arguments)
    if status != 0:
        sys.exit("protoc failed. Its message is above.")
    for path in generated_files(target):  # a proto without a service needs no gRPC module
        if path.name.endswith(("_pb2_grpc.py", "_pb2_grpc.pyi")) and not declares_service(path, target):
            path.unlink()
    files = FileDescriptorSet.FromString((target / "protos.bin").read_bytes())
    (target / "gateway/v1" / RULES).write_text(validation_module(files), encoding="utf-8")
    write_client(files, target)


def declares_service(path: Path, target: Path) -> bool:
    """Tell whether the proto of a generated gRPC module has a service."""
    proto = PROTOS / path.relative_to(target).parent / (path.name.split("_pb2_grpc")[0] + ".proto")
    return any(line.startswith("service ") for line in proto.read_text(encoding="utf-8").splitlines())


def generated_files(base: Path) -> list[Path]:
    """Return the generated files below `base`."""
    client = (path for name in CLIENT_FILES if (path := base / CLIENT_FOLDER / name).exists())
    return sorted(
        [*client, *(path for folder in FOLDERS for pattern in GENERATED for path in (base / folder).glob(pattern))]
    )


def differences(fresh: Path) -> list[str]:
    """Return one line for each stale, missing or obsolete file of the committed code."""
    want = {path.relative_to(fresh) for path in generated_files(fresh)}
    have = {path.relative_to(ROOT) for path in generated_files(ROOT)}
    stale = [path for path in want & have if not filecmp.cmp(fresh / path, ROOT / path, shallow=False)]
    return sorted(
        [f"missing: {path}" for path in want - have]
        + [f"obsolete: {path}" for path in have - want]
        + [f"stale: {path}" for path in stale]
    )


def write(fresh: Path) -> None:
    """Replace the committed code. Files that did not change are not written."""
    for path in generated_files(ROOT):
        if not (fresh / path.relative_to(ROOT)).exists():
            path.unlink()
    for path in generated_files(fresh):
        committed = ROOT / path.relative_to(fresh)
        if not committed.exists() or not filecmp.cmp(path, committed, shallow=False):
            committed.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, committed)


def main() -> int:
    """Generate or check. Return 1 if a check finds differences."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare only, change nothing")
    check_only: bool = parser.parse_args().check
    fresh = ROOT / "build" / "protos"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    generate(fresh)
    if not check_only:
        write(fresh)
        print(f"Generated {len(generated_files(fresh))} files from {len(proto_files())} protos.")
        return 0
    found = differences(fresh)
    for line in found:
        print(line)
    print("Generated code differs from the protos: run `make protos`." if found else "Generated code is up to date.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
