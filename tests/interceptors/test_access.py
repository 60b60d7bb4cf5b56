"""Every method declares its right and its data's owner. A method without them stops the start."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import ServiceDescriptor

from gateway.core.rights import Scope
from gateway.interceptors.access import AccessMissing, _of_services, method_access
from gateway.interceptors.policy import METHODS
from gateway.v1 import access_pb2


def test_every_served_method_says_what_it_needs() -> None:
    """Methods that are not served have no entry."""
    assert set(METHODS) == set(method_access())


def test_whose_data_it_is_is_what_the_request_names() -> None:
    """A request with a tenant is about a tenant, one with an operator about an operator: itself, or its items."""
    wrong = []
    for path, access in method_access().items():
        service, _, name = path[1:].partition("/")
        if not service.startswith("phoenix."):
            continue
        method = descriptor_pool.Default().FindServiceByName(service).FindMethodByName(name)
        fields = set(_fields(method.input_type))
        if ("tenant_id" in fields, "operator_code" in fields) != (
            access.scope.names_tenant,
            access.scope.names_operator,
        ):
            wrong.append((path, access.scope))
    assert wrong == []


def _fields(message: Any) -> list[str]:
    own = list(message.fields_by_name)
    items = message.fields_by_name.get("requests")
    return own + (list(items.message_type.fields_by_name) if items is not None else [])


def test_scopes_are_those_of_the_contract() -> None:
    """By name and number."""
    of_contract = {
        name.removeprefix("ACCESS_SCOPE_"): number for name, number in access_pb2.AccessScope.items() if number
    }
    assert of_contract == {scope.name: scope.value for scope in Scope}


@pytest.mark.parametrize("said", [None, {"right": "x.read"}, {"scope": access_pb2.ACCESS_SCOPE_TENANT}])
def test_a_method_that_says_nothing_stops_the_start(said: dict[str, Any] | None) -> None:
    """The error names it."""
    with pytest.raises(AccessMissing, match=r"/t\.v1\.Service/Read"):
        list(_of_services([_service(said)]))


def test_a_method_that_says_both_is_known() -> None:
    """The same service, complete."""
    complete = _service({"right": "x.read", "scope": access_pb2.ACCESS_SCOPE_OPERATOR})
    (found,) = _of_services([complete])
    assert ("/t.v1.Service/Read", "x.read", Scope.OPERATOR) == (found[0], found[1].right, found[1].scope)


def _service(said: dict[str, Any] | None) -> ServiceDescriptor:
    file = descriptor_pb2.FileDescriptorProto(name="t.proto", package="t.v1", syntax="proto3")
    file.message_type.add(name="Empty")
    method = file.service.add(name="Service").method.add(
        name="Read", input_type=".t.v1.Empty", output_type=".t.v1.Empty"
    )
    if said is not None:
        options: Any = method.options
        options.Extensions[access_pb2.access].CopyFrom(access_pb2.Access(**said))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool.FindServiceByName("t.v1.Service")
