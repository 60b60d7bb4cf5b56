"""`make stubs` and `make docs`: what other teams get. The client's wheel: tests/clients."""

from __future__ import annotations

import importlib
import importlib.resources
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto, FileDescriptorSet, FileOptions
from grpc_tools import protoc

from tools import stubs
from tools.docs import api
from tools.generate_protos import proto_files
from tools.plain_protos import UnexpectedOption, without_rules


@pytest.mark.parametrize("plain", [False, True], ids=["with rules", "plain"])
def test_the_protos_are_whole(plain: bool, tmp_path: Path) -> None:
    """Every import is there or is one of protoc's own; what others publish is not among our protos."""
    stubs.write_protos(tmp_path, plain=plain)
    compiled = _compiled(tmp_path)
    foreign = {file.name for file in compiled.file if not (tmp_path / "protos" / file.name).exists()}
    wanted = {"google/rpc/status.proto"} | (set() if plain else {"buf/validate/validate.proto"})
    assert {name for name in foreign if not name.startswith("google/protobuf/")} == wanted
    assert (tmp_path / "imports/google/rpc/error_details.proto").is_file()


def test_the_plain_protos_differ_only_in_their_rules(tmp_path: Path) -> None:
    """Without the options of protovalidate, the full set is the plain one, comments included."""
    stubs.write_protos(tmp_path / "full", plain=False)
    stubs.write_protos(tmp_path / "plain", plain=True)
    full, plain = (_ours(_compiled(tmp_path / name)) for name in ("full", "plain"))
    for file in full:
        assert file.name == "gateway/v1/access.proto" or "buf/validate/validate.proto" in file.dependency
        _drop_rules(file)
    assert full == plain
    assert _comments(tmp_path / "full") == _comments(tmp_path / "plain")


@pytest.mark.parametrize(
    ("proto", "plain"),
    [
        ("int32 a = 1 [(buf.validate.field).int32 = {\n  gte: 1\n}];\n", "int32 a = 1;\n"),
        ('string a = 1 [(buf.validate.field).string.pattern = "[\\"};]"];\n', "string a = 1;\n"),
        ("string a = 1 [\n  (buf.validate.field).required = true // ]\n];\n", "string a = 1;\n"),
        ('oneof a {\n  option (buf.validate.oneof) = {id: "};"};\n  // c\n}\n', "oneof a {\n  // c\n}\n"),
    ],
)
def test_rules_end_where_their_text_does_not(proto: str, plain: str) -> None:
    """Brackets in strings and comments end nothing."""
    assert without_rules(proto) == plain


def test_a_rule_behind_another_option_stops_the_run() -> None:
    """It is not left in by mistake."""
    with pytest.raises(UnexpectedOption):
        without_rules("string a = 1 [deprecated = true, (buf.validate.field).required = true];\n")


def test_each_proto_names_its_packages() -> None:
    """Generated Go, Java and C# code has a place of its own, the same for each file."""
    named = {
        (options.go_package, options.java_package, options.java_multiple_files, options.csharp_namespace)
        for options in (_file_options(name) for name in proto_files() if name != stubs.VALIDATE)
    }
    assert named == {("phoenix.internal/gateway/v1;gatewayv1", "phoenix.gateway.v1", True, "Phoenix.Gateway.V1")}


def _compiled(folder: Path, *flags: str) -> FileDescriptorSet:
    protos = sorted(str(path.relative_to(folder / "protos")) for path in (folder / "protos").rglob("*.proto"))
    target = folder / "set.binpb"
    roots = [f"-I{folder / 'protos'}", f"-I{folder / 'imports'}"]
    arguments = [*roots, "--include_imports", *flags, f"-o{target}", *protos]
    with importlib.resources.as_file(importlib.resources.files("grpc_tools") / "_proto") as well_known:
        assert protoc.main(["protoc", *arguments, f"-I{well_known}"]) == 0
    return FileDescriptorSet.FromString(target.read_bytes())


def _ours(files: FileDescriptorSet) -> list[FileDescriptorProto]:
    return [file for file in files.file if file.name.startswith("gateway/")]


def _comments(folder: Path) -> list[tuple[str, str]]:
    """The comments of each file, in their order."""
    return [
        (file.name, text)
        for file in _ours(_compiled(folder, "--include_source_info"))
        for location in file.source_code_info.location
        for text in (location.leading_comments, location.trailing_comments)
        if text
    ]


def _drop_rules(file: FileDescriptorProto) -> None:
    if stubs.VALIDATE in file.dependency:
        file.dependency.remove(stubs.VALIDATE)
    left: list[DescriptorProto] = list(file.message_type)
    while left:
        message = left.pop()
        left += message.nested_type
        parts: list[Any] = [message, *message.field, *message.oneof_decl]
        for part in parts:
            kept = {known.name: value for known, value in part.options.ListFields() if not known.is_extension}
            part.ClearField("options")
            for name, value in kept.items():
                setattr(part.options, name, value)


def _file_options(name: str) -> FileOptions:
    module = importlib.import_module(name.replace("/", ".").removesuffix(".proto") + "_pb2")
    options: FileOptions = module.DESCRIPTOR.GetOptions()
    return options


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
