"""Writes the parts of `make stubs` that need no tools of another language, and no network.

These are the wheel of the Python client (clients/python); the protos for other languages, with and without their
validation rules; and one descriptor set for tools such as grpcurl, buf and Envoy. tools/stub_languages.py puts the
parts together.
"""

from __future__ import annotations

import importlib.resources
import subprocess
import sys
import sysconfig
from pathlib import Path

from grpc_tools import protoc

from tools import version
from tools.generate_protos import PROTOS, ROOT, proto_files
from tools.plain_protos import without_rules

STUBS = ROOT / "build" / "stubs"
CLIENT = ROOT / "clients" / "python"
GOOGLEAPIS = ("google/rpc/error_details.proto", "google/rpc/status.proto")
"""What our protos import, and what the details of an error are."""
VALIDATE = "buf/validate/validate.proto"
_BUF = """# The contract, and what it imports from others.
version: v2
modules:
  - path: protos
  - path: imports
"""
_GENERATE = """# Go code of the contract: `buf generate`. Needs protoc-gen-go and protoc-gen-go-grpc on the PATH.
version: v2
inputs:
  - directory: protos
{managed}plugins:
  - local: protoc-gen-go
    out: gen
    opt: paths=source_relative
  - local: protoc-gen-go-grpc
    out: gen
    opt: paths=source_relative
"""
_MANAGED = """managed:
  enabled: true
  override:
    # Your module's path and `out` of the plugins.
    - file_option: go_package_prefix
      value: example.com/your-module/gen
  disable:
    # Their code comes from their own modules: another package path would register it a second time.
    - path: google/rpc
    - path: buf/validate
"""


_OTHERS = {
    "java": """# Java code of the contract. Needs protoc and protoc-gen-grpc-java on the PATH. Others publish
# the code of google/rpc (com.google.api.grpc:proto-google-common-protos) and that of buf/validate
# (build.buf:protovalidate), which `plain/` does not need.
version: v2
inputs:
  - directory: protos
plugins:
  - protoc_builtin: java
    out: gen
  - local: protoc-gen-grpc-java
    out: gen
""",
    "typescript": """# TypeScript code of the contract. Needs protoc-gen-es of @bufbuild/protoc-gen-es on the PATH. No
# npm package has the code of google/rpc, so that it is generated too.
version: v2
inputs:
  - directory: protos
plugins:
  - local: protoc-gen-es
    out: gen
    opt:
      - target=ts
      - import_extension=js
    include_imports: true
""",
}
"""Templates of languages without a managed mode, by the last part of their file's name."""


def write_protos(target: Path, *, plain: bool) -> None:
    """Write our protos, what they import and buf's files. `plain`: without validation rules and their import."""
    imports = {name: Path(sysconfig.get_path("purelib")) / name for name in GOOGLEAPIS}
    for name in proto_files():
        if name == VALIDATE:
            if not plain:
                imports[name] = PROTOS / name
            continue
        text = (PROTOS / name).read_text(encoding="utf-8")
        _write(target / "protos" / name, without_rules(text) if plain else text)
    for name, source in imports.items():
        _write(target / "imports" / name, source.read_text(encoding="utf-8"))
    _write(target / "buf.yaml", _BUF)
    _write(target / "buf.gen.yaml", _GENERATE.format(managed=""))
    _write(target / "buf.gen.managed.yaml", _GENERATE.format(managed=_MANAGED))
    for language, template in _OTHERS.items():
        _write(target / f"buf.gen.{language}.yaml", template)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def write_descriptors(target: Path) -> None:
    """Write one FileDescriptorSet with all imports and comments. Exit if protoc reports an error."""
    with importlib.resources.as_file(importlib.resources.files("grpc_tools") / "_proto") as well_known:
        status = protoc.main(
            [
                "protoc",
                f"-I{PROTOS}",
                f"-I{sysconfig.get_path('purelib')}",
                f"-I{well_known}",
                "--include_imports",
                "--include_source_info",
                f"--descriptor_set_out={target}",
                *proto_files(),
                *GOOGLEAPIS,
            ]
        )
    if status != 0:
        sys.exit("protoc failed. Its message is above.")


def project_version() -> str:
    """Return the version of the project, which the clients have too."""
    return version.current()


def write_wheel(folder: Path) -> Path:
    """Build the client's wheel. Equal sources give equal bytes."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    done = subprocess.run(command, cwd=CLIENT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"The client's wheel was not built:\n{done.stderr}")
    (wheel,) = folder.glob("phoenix_gateway_client-*.whl")
    return wheel
