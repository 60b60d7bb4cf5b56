"""Reads from the options in the protos which right each method needs. The standard services have a row each here.

A method of a new proto file is found automatically. A method without the option stops the start.
Source: protos/gateway/v1/access.proto.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

from google.protobuf.descriptor import ServiceDescriptor

import gateway.v1
from gateway.core.rights import Access, Scope
from gateway.v1 import access_pb2

REFLECTION = "reflection"
"""The right to list the methods that are served."""

_STANDARD: Mapping[str, Access] = {
    "/grpc.health.v1.Health/Check": Access(right="health", scope=Scope.CALLER, always=True),
    "/grpc.health.v1.Health/List": Access(right="health", scope=Scope.CALLER, always=True),
    "/grpc.health.v1.Health/Watch": Access(right="health", scope=Scope.CALLER, always=True),
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo": Access(right=REFLECTION, scope=Scope.CALLER),
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": Access(right=REFLECTION, scope=Scope.CALLER),
}
"""Methods whose protos are not ours."""


class AccessMissing(Exception):
    """A method's proto names no right or no scope. The start fails."""


@cache
def method_access() -> Mapping[str, Access]:
    """Return what each method needs, by its full path. Raises: AccessMissing, naming all methods without the option."""
    found = dict(_of_services(_services()))
    return {**found, **_STANDARD}


def _of_services(services: Iterable[ServiceDescriptor]) -> Iterator[tuple[str, Access]]:
    silent: list[str] = []
    for service in services:
        for method in service.methods:
            options: Any = method.GetOptions()
            said: Any = options.Extensions[access_pb2.access]
            path = f"/{service.full_name}/{method.name}"
            if not said.right or not said.scope:
                silent.append(path)
                continue
            yield path, Access(right=str(said.right), scope=Scope(said.scope))
    if silent:
        raise AccessMissing(f"methods without a right or scope in their proto: {sorted(silent)}")


def _services() -> Iterator[ServiceDescriptor]:
    for module in sorted(one.name for one in pkgutil.iter_modules(gateway.v1.__path__)):
        if module.endswith("_pb2"):
            loaded: Any = importlib.import_module(f"gateway.v1.{module}")
            yield from loaded.DESCRIPTOR.services_by_name.values()
