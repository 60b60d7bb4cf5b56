"""`phoenix-gateway call`: any method with JSON in and out, described by the gateway itself (server reflection).

Where reflection is not allowed to the caller, the contract of this program is used.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import grpc
    from google.protobuf.descriptor import Descriptor, MethodDescriptor
    from google.protobuf.descriptor_pool import DescriptorPool
    from google.protobuf.message import Message

PACKAGE = "phoenix.gateway.v1"
WRONG = 2
_MODULES = ("events", "keys", "leaderboard_admin", "leaderboards", "operator", "phoenix", "tokens", "wallet")
_STANDARD = ("grpc.reflection.",)


class CallInvalid(ValueError):
    """The method or the JSON cannot be used. The text says why, and what to do."""


def run(
    target: str,
    ca_file: Path | None,
    cert_file: Path | None,
    key_file: Path | None,
    *,
    method: str,
    body: str,
    timeout_s: float,
    describe: bool,
    as_json: bool,
) -> int:
    """Make the call and print each answer; without a method, list all. Return the exit code."""
    import grpc

    from gateway.cli.connect import open_channel, print_failure
    from gateway.cli.options import WrongOptions

    try:
        with open_channel(target, ca_file, cert_file, key_file) as channel:
            contract = _Contract(channel)
            if not method:
                return _print_names(contract, as_json=as_json)
            found = contract.method(method)
            if describe:
                return _print_fields(found, as_json=as_json)
            for answer in _answers(channel, contract, found, _text(body), timeout_s):
                _print(answer, as_json=as_json)
    except (WrongOptions, CallInvalid) as invalid:
        print(invalid, file=sys.stderr)
        return WRONG
    except grpc.RpcError as error:
        print_failure(target, error)
        return 1
    except KeyboardInterrupt:
        return 0
    return 0


class _Contract:
    """The services of a gateway. Raises: CallInvalid; grpc.RpcError."""

    def __init__(self, channel: grpc.Channel) -> None:
        import grpc
        from google.protobuf.descriptor_pool import Default, DescriptorPool
        from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

        database = ProtoReflectionDescriptorDatabase(channel)
        self.pool: DescriptorPool = DescriptorPool(database)
        try:
            self.services = sorted(one for one in database.get_services() if not one.startswith(_STANDARD))
        except grpc.RpcError as error:
            if not _is_refused(error):
                raise
            self.pool = Default()
            modules = [import_module(f"gateway.v1.{name}_pb2") for name in _MODULES]
            self.services = sorted(
                service.full_name for module in modules for service in module.DESCRIPTOR.services_by_name.values()
            )

    def method(self, name: str) -> MethodDescriptor:
        """Return a method by its full name, or without the package: `EventService/SubmitEvent`."""
        service, _, short = name.replace("/", ".").rpartition(".")
        full = [one for one in self.services if one == service or one.rpartition(".")[2] == service]
        if not full:
            known = ", ".join(one.removeprefix(f"{PACKAGE}.") for one in self.services)
            raise CallInvalid(f"{name}: no such service; write SERVICE/METHOD with one of {known}")
        methods = self.pool.FindServiceByName(full[0]).methods_by_name
        if short not in methods:
            raise CallInvalid(f"{name}: no such method; {service} has {', '.join(sorted(methods))}")
        found: MethodDescriptor = methods[short]
        return found

    def message(self, descriptor: Descriptor) -> type[Message]:
        """Return the class of a message."""
        from google.protobuf.message_factory import GetMessageClass

        return GetMessageClass(descriptor)


def _is_refused(error: Exception) -> bool:
    import grpc

    refusals = (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNIMPLEMENTED)
    return isinstance(error, grpc.Call) and error.code() in refusals


def _text(body: str) -> str:
    if body == "-":
        return sys.stdin.read()
    if not body.startswith("@"):
        return body or "{}"
    try:
        return Path(body[1:]).read_text(encoding="utf-8")
    except OSError as error:
        raise CallInvalid(f"{body[1:]}: cannot be read ({error.strerror}); check the path") from None


def _requests(message: type[Message], text: str, pool: DescriptorPool, *, many: bool) -> list[Message]:
    """Return the requests in a text: one JSON object, or several in a row for a method that takes a stream."""
    import json

    from google.protobuf.json_format import ParseDict, ParseError

    found, place = [], 0
    decoder = json.JSONDecoder()
    try:
        while text[place:].strip():
            place += len(text[place:]) - len(text[place:].lstrip())
            value, place = decoder.raw_decode(text, place)
            if not isinstance(value, dict):
                raise ValueError(f"{json.dumps(value)[:40]} is no object")
            found.append(ParseDict(value, message(), descriptor_pool=pool))
    except (ValueError, ParseError) as error:
        hint = "see the fields with --describe" if isinstance(error, ParseError) else "write one object, such as '{}'"
        raise CallInvalid(f"JSON: {error}; {hint}") from None
    if len(found) != 1 and not many:
        raise CallInvalid(f"JSON: {len(found)} objects; this method takes one")
    return found


def _answers(
    channel: grpc.Channel, contract: _Contract, method: MethodDescriptor, text: str, timeout_s: float
) -> Iterator[Any]:
    request, response = contract.message(method.input_type), contract.message(method.output_type)
    requests = _requests(request, text, contract.pool, many=method.client_streaming)
    kind = f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
    path = f"/{method.containing_service.full_name}/{method.name}"
    call: Any = getattr(channel, kind)(
        path, request_serializer=request.SerializeToString, response_deserializer=response.FromString
    )
    sent = iter(requests) if method.client_streaming else requests[0]
    limit = timeout_s or (None if method.server_streaming else 15.0)
    answer = call(sent, timeout=limit)
    yield from (answer if method.server_streaming else [answer])


def _print(answer: Message, *, as_json: bool) -> None:
    from google.protobuf.json_format import MessageToDict

    from gateway.core.plain_text import json_line, json_page

    fields = MessageToDict(answer, preserving_proto_field_name=True)
    print(json_line(fields) if as_json else json_page(fields), flush=True)


def _print_names(contract: _Contract, *, as_json: bool) -> int:
    from gateway.core.plain_text import json_line

    names = [
        f"{service.removeprefix(f'{PACKAGE}.')}/{name}"
        for service in contract.services
        for name in contract.pool.FindServiceByName(service).methods_by_name
    ]
    print(json_line({"methods": names}) if as_json else "\n".join(names))
    return 0


def _print_fields(method: MethodDescriptor, *, as_json: bool) -> int:
    from gateway.core.plain_text import json_line

    fields = [_kind(field) for field in method.input_type.fields]
    if as_json:
        print(json_line({"request": method.input_type.full_name, "fields": dict(fields)}))
        return 0
    print(f"{method.input_type.full_name} > {method.output_type.full_name}")
    for name, kind in fields:
        print(f"  {name}: {kind}")
    return 0


def _kind(field: Any) -> tuple[str, str]:
    """Return a field's name and what its JSON is."""
    if field.message_type is not None:
        kind = field.message_type.full_name.removeprefix(f"{PACKAGE}.")
        inner = "" if kind.startswith("google.") else f" {{{', '.join(one.name for one in field.message_type.fields)}}}"
        kind += inner
    elif field.enum_type is not None:
        kind = " | ".join(value.name for value in field.enum_type.values)
    else:
        names = {1: "number", 3: "integer", 4: "integer", 5: "integer", 8: "true | false", 9: "text", 12: "base64"}
        kind = names.get(field.type, "number")
    is_list = getattr(field, "is_repeated", None)
    return field.name, f"list of {kind}" if is_list else kind
