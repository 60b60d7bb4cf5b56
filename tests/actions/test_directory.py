"""Which tenant or operator a request means."""

from __future__ import annotations

import pytest

from gateway.actions.directory import OperatorDirectory, TenantDirectory
from gateway.core.types import Environment, OperatorCode, TenantId
from gateway.errors import InvalidField, OperatorUnknown, TenantUnknown

SANDBOX, PROD = Environment.SANDBOX, Environment.PROD
ACME, ZETA = OperatorCode("acme"), OperatorCode("zeta")


def test_an_empty_tenant_id_means_the_only_one() -> None:
    """One tenant needs no name."""
    assert TenantDirectory({TenantId("t1"): "one"}).resolve("") == "one"


def test_an_empty_tenant_id_among_several_is_refused_by_field() -> None:
    """Guessing a tenant could score for another company."""
    with pytest.raises(InvalidField) as refused:
        TenantDirectory({TenantId("t1"): "one", TenantId("t2"): "two"}).resolve("")
    assert [fault.field for fault in refused.value.faults] == ["tenant_id"]


@pytest.mark.parametrize("asked", ["t2", "T1", "t1 "])
def test_an_unknown_tenant_is_refused(asked: str) -> None:
    """Ids are compared exactly."""
    with pytest.raises(TenantUnknown):
        TenantDirectory({TenantId("t1"): "one"}).resolve(asked)


def test_no_tenant_at_all_is_refused() -> None:
    """Without a tenant the error says which setting is missing."""
    with pytest.raises(TenantUnknown, match="TENANT_ID"):
        TenantDirectory({}).resolve("")


@pytest.mark.parametrize(
    ("code", "environment", "expected"),
    [("acme", SANDBOX, "as"), ("acme", PROD, "ap"), ("zeta", None, "zp"), ("", SANDBOX, "as")],
)
def test_what_is_left_empty_means_the_only_one(code: str, environment: Environment | None, expected: str) -> None:
    """Each member may be left out where the other one settles it."""
    directory = OperatorDirectory({(ACME, SANDBOX): "as", (ACME, PROD): "ap", (ZETA, PROD): "zp"})
    assert expected == directory.resolve(code, environment)


@pytest.mark.parametrize(("code", "environment", "field"), [("acme", None, "environment"), ("", PROD, "operator_code")])
def test_an_ambiguous_operator_is_refused_by_the_member_that_is_needed(
    code: str, environment: Environment | None, field: str
) -> None:
    """Sandbox is never taken for prod, nor one operator for another."""
    directory = OperatorDirectory({(ACME, SANDBOX): "as", (ACME, PROD): "ap", (ZETA, PROD): "zp"})
    with pytest.raises(InvalidField) as refused:
        directory.resolve(code, environment)
    assert [field] == [fault.field for fault in refused.value.faults]


def test_an_operator_in_another_environment_is_unknown() -> None:
    """A known code does not open the other environment."""
    with pytest.raises(OperatorUnknown):
        OperatorDirectory({(ACME, SANDBOX): "as"}).resolve("acme", PROD)
