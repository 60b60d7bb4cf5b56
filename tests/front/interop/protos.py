"""Message classes of the protos in this folder, compiled when they are asked for: no generated code to keep."""

from __future__ import annotations

import tempfile
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass
from grpc_tools import protoc

FOLDER = Path(__file__).parent


@cache
def _load(name: str) -> None:
    with tempfile.TemporaryDirectory() as folder, as_file(files("grpc_tools") / "_proto") as well_known:
        target = Path(folder) / "set"
        arguments = [f"-I{FOLDER}", f"-I{well_known}", f"--descriptor_set_out={target}", "--include_imports", name]
        if protoc.main(["protoc", *arguments]) != 0:
            raise RuntimeError(f"{name} cannot be compiled")
        found = descriptor_pb2.FileDescriptorSet.FromString(target.read_bytes())
    pool = descriptor_pool.Default()
    for one in found.file:
        pool.AddSerializedFile(one.SerializeToString())


def service(proto: str, name: str) -> ServiceDescriptor:
    """Return a service of a proto in this folder; reflection then knows it too."""
    _load(proto)
    found: ServiceDescriptor = descriptor_pool.Default().FindServiceByName(name)
    return found


def message(proto: str, name: str) -> Any:
    """Return a message class of a proto in this folder."""
    _load(proto)
    return GetMessageClass(descriptor_pool.Default().FindMessageTypeByName(name))
