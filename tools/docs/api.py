"""docs/api.md, from the protos: every RPC with its right, its longest time, its messages and their comments."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
    ServiceDescriptorProto,
)

from gateway.interceptors.access import method_access
from gateway.interceptors.policy import METHODS
from tools.stubs import write_descriptors

_PACKAGE = "phoenix.gateway.v1"
_HEAD = """# The API, RPC by RPC

Generated from `protos/gateway/v1` by `make docs`; do not edit. Reasons of errors: [errors.md](errors.md). *Right*: what
the caller's [policy](policy.md) must grant. *At most*: the longest time a call may take, whatever deadline the caller
sets; a stream has no limit.

"""
_SERVICE, _MESSAGE, _ENUM = 6, 4, 5
"""Field numbers of FileDescriptorProto, as the paths of comments use them."""


class Page:
    """One proto file's services, messages and enums."""

    def __init__(self, file: FileDescriptorProto) -> None:
        self._file = file
        self._comments = {tuple(place.path): place.leading_comments.strip() for place in file.source_code_info.location}

    def lines(self) -> Iterator[str]:
        """Yield the lines of the file's part."""
        for number, service in enumerate(self._file.service):
            yield from self._service(service, (_SERVICE, number))
        for number, message in enumerate(self._file.message_type):
            yield from self._message(message, (_MESSAGE, number))
        for number, kind in enumerate(self._file.enum_type):
            yield from self._enum(kind, (_ENUM, number))

    def _service(self, service: ServiceDescriptorProto, path: tuple[int, ...]) -> Iterator[str]:
        yield from (f"## {service.name}", "", self._comment(path), "")
        for number, method in enumerate(service.method):
            yield from self._method(service, method, (*path, 2, number))

    def _method(
        self, service: ServiceDescriptorProto, method: MethodDescriptorProto, path: tuple[int, ...]
    ) -> Iterator[str]:
        full = f"/{_PACKAGE}.{service.name}/{method.name}"
        timeout_s = METHODS[full].timeout_s
        asked = f"{'stream of ' if method.client_streaming else ''}{_linked(method.input_type)}"
        answered = f"{'stream of ' if method.server_streaming else ''}{_linked(method.output_type)}"
        yield from (f"### {service.name}.{method.name}", "", f"{asked} → {answered}", "")
        longest = "no time limit" if timeout_s is None else f"at most {timeout_s:g} s"
        yield from (f"Right `{method_access()[full].right}`; {longest}.", "", self._comment(path), "")

    def _message(self, message: DescriptorProto, path: tuple[int, ...]) -> Iterator[str]:
        yield from (f"### {message.name}", "", self._comment(path), "")
        if not message.field:
            return
        yield from ("| field | type | meaning |", "|---|---|---|")
        maps = {f".{_PACKAGE}.{message.name}.{entry.name}": entry for entry in message.nested_type}
        for number, field in enumerate(message.field):
            yield f"| `{field.name}` | {_type(field, maps)} | {_cell(self._comment((*path, 2, number)))} |"
        yield ""

    def _enum(self, kind: EnumDescriptorProto, path: tuple[int, ...]) -> Iterator[str]:
        yield from (f"### {kind.name}", "", self._comment(path), "", "| value | meaning |", "|---|---|")
        for number, value in enumerate(kind.value):
            yield f"| `{value.name}` | {_cell(self._comment((*path, 2, number)))} |"
        yield ""

    def _comment(self, path: tuple[int, ...]) -> str:
        return "\n".join(line.strip() for line in self._comments.get(path, "").splitlines())


def _type(field: FieldDescriptorProto, maps: dict[str, DescriptorProto]) -> str:
    entry = maps.get(field.type_name)
    if entry is not None:
        key, value = entry.field
        return f"map of {_type(key, {})} to {_type(value, {})}"
    name = _linked(field.type_name) if field.type_name else FieldDescriptorProto.Type.Name(field.type)[5:].lower()
    return f"list of {name}" if field.label == FieldDescriptorProto.LABEL_REPEATED else name


def _linked(full_name: str) -> str:
    name = full_name.removeprefix(f".{_PACKAGE}.")
    return f"[{name}](#{name.lower()})" if name != full_name else name.removeprefix(".")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def page() -> str:
    """Return the whole page."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "descriptors.binpb"
        write_descriptors(target)
        files = FileDescriptorSet.FromString(target.read_bytes()).file
    ours = sorted((file for file in files if file.package == _PACKAGE), key=lambda file: (not file.service, file.name))
    return _HEAD + "\n".join(line for file in ours for line in Page(file).lines()).rstrip() + "\n"
