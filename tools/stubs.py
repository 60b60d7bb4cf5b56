"""`make stubs`: creates client code for other teams below build/stubs/.

It creates a Python wheel with the generated code and its types; the protos with all their imports, for other
languages; and one descriptor set for tools such as grpcurl, buf and Envoy. It needs no network.
"""

from __future__ import annotations

import importlib.resources
import shutil
import sys
import sysconfig
import zipfile
from base64 import urlsafe_b64encode
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

from grpc_tools import protoc

from tools.generate_protos import PROTOS, ROOT, RULES, generated_files, proto_files

STUBS = ROOT / "build" / "stubs"
CLIENT = "phoenix_gateway_client"
REQUIRES = ("grpcio", "protobuf", "googleapis-common-protos")
_RPC_PROTO = "google/rpc/status.proto"
_README = """# Calling the Phoenix Gateway

- `{wheel}`: Python. `pip install {wheel}`, then
  `from gateway.v1 import events_pb2, events_pb2_grpc`.
- `protos/`: the protos with all their imports except protoc's own files, for any other language:
  `buf generate protos`, or `protoc -I protos ...`.
- `descriptors.binpb`: the same as one descriptor set, with comments. Where reflection is not allowed, use
  `grpcurl -protoset descriptors.binpb ...`.

The Python package contains the modules `gateway.v1`. Do not install it in an environment that has the gateway itself.
"""


def main() -> int:
    """Create all files and print their names."""
    shutil.rmtree(STUBS, ignore_errors=True)
    STUBS.mkdir(parents=True)
    copy_protos(STUBS / "protos")
    write_descriptors(STUBS / "descriptors.binpb")
    wheel = write_wheel(STUBS)
    (STUBS / "README.md").write_text(_README.format(wheel=wheel.name), encoding="utf-8")
    for path in sorted(STUBS.iterdir()):
        print(path.relative_to(ROOT))
    return 0


def copy_protos(target: Path) -> None:
    """Copy our protos and the third-party protos that they import."""
    for name in proto_files():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(PROTOS / name, target / name)
    rpc = target / _RPC_PROTO
    rpc.parent.mkdir(parents=True)
    shutil.copyfile(Path(sysconfig.get_path("purelib")) / _RPC_PROTO, rpc)


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
            ]
        )
    if status != 0:
        sys.exit("protoc failed. Its message is above.")


def write_wheel(folder: Path) -> Path:
    """Write the client's wheel. It has only generated modules and is reproducible."""
    release = version("phoenix-gateway")
    info = f"{CLIENT}-{release}.dist-info"
    requires = "".join(f"Requires-Dist: {name}>={version(name)}\n" for name in REQUIRES)
    files: dict[str, bytes] = {
        "gateway/v1/__init__.py": b'"""The Phoenix Gateway\'s contract: generated code."""\n',
        "gateway/py.typed": b"",
        "buf/py.typed": b"",
        **{str(path.relative_to(ROOT)): path.read_bytes() for path in generated_files(ROOT) if path.name != RULES},
        f"{info}/METADATA": (
            f"Metadata-Version: 2.1\nName: {CLIENT.replace('_', '-')}\nVersion: {release}\n"
            f"Summary: Generated client code of the Phoenix Gateway\nRequires-Python: >=3.11\n{requires}"
        ).encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: phoenix-gateway\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},sha256={_digest(data)},{len(data)}\n" for name, data in sorted(files.items()))
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    wheel = folder / f"{CLIENT}-{release}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in sorted(files.items()):
            archive.writestr(zipfile.ZipInfo(name), data)
    return wheel


def _digest(data: bytes) -> str:
    return urlsafe_b64encode(sha256(data).digest()).rstrip(b"=").decode("ascii")


if __name__ == "__main__":
    sys.exit(main())
