"""The published gRPC service config names what exists, and gives no stream an end."""

from __future__ import annotations

import importlib
import json
import pkgutil
from pathlib import Path

from google.protobuf.descriptor import MethodDescriptor

import gateway.v1

CONFIG = json.loads((Path(__file__).resolve().parents[2] / "clients" / "service_config.json").read_text())
METHODS: dict[tuple[str, str], MethodDescriptor] = {
    (service.full_name, method.name): method
    for module in pkgutil.iter_modules(gateway.v1.__path__)
    if module.name.endswith("_pb2")
    for service in importlib.import_module(f"gateway.v1.{module.name}").DESCRIPTOR.services_by_name.values()
    for method in service.methods
}


def config_of(service: str, method: str) -> dict[str, object]:
    """The entry that a client uses for a method: the most specific one."""
    for name in ({"service": service, "method": method}, {"service": service}, {}):
        for entry in CONFIG["methodConfig"]:
            if name in entry["name"]:
                return dict(entry)
    return {}


def test_names_exist() -> None:
    """A client takes a wrong name without a word."""
    for entry in CONFIG["methodConfig"]:
        for name in entry["name"]:
            if "method" in name:
                assert (name["service"], name["method"]) in METHODS
            elif "service" in name:
                assert name["service"] in {service for service, _ in METHODS}


def test_every_single_call_has_a_deadline_and_no_stream_has() -> None:
    """A stream with a deadline would be cut while it works."""
    for (service, name), method in METHODS.items():
        is_stream = method.client_streaming or method.server_streaming
        assert ("timeout" in config_of(service, name)) is not is_stream, name


def test_only_unavailable_is_repeated() -> None:
    """It is the only status that means: certainly not done."""
    codes = [entry["retryPolicy"]["retryableStatusCodes"] for entry in CONFIG["methodConfig"]]
    assert codes == [["UNAVAILABLE"]] * len(codes)
