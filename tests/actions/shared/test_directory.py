"""Which tenant or operator a request means, and whether its caller may see it."""

from __future__ import annotations

import pytest

from gateway.actions.shared.call import Call, Peer
from gateway.actions.shared.directory import OperatorDirectory, TenantDirectory
from gateway.core.rights import Grant, OperatorScope
from gateway.core.types import Environment, OperatorCode, TenantId
from gateway.errors import GatewayError, InvalidField, NotAllowed, OperatorUnknown, TenantUnknown
from gateway.resilience.clock import SystemClock
from gateway.resilience.deadline import Deadline
from tests.full_grant import FULL_GRANT

SANDBOX, PROD = Environment.SANDBOX, Environment.PROD
ACME, ZETA = OperatorCode("acme"), OperatorCode("zeta")
ONE, TWO = TenantId("one"), TenantId("two")
TENANTS = TenantDirectory({ONE: "1", TWO: "2"})
OPERATORS = OperatorDirectory({(ACME, SANDBOX): "as", (ACME, PROD): "ap", (ZETA, PROD): "zp"})


def call(grant: Grant = FULL_GRANT) -> Call:
    """A call of a caller with this right."""
    deadline = Deadline.after(5, SystemClock())
    return Call(method="m", peer=Peer(address=""), request_id="r", deadline=deadline, arrived_at=0.0, grant=grant)


def recorded(call: Call) -> dict[str, str]:
    fields: dict[str, str] = {}
    call.record.write_to(fields)
    return fields


def of_tenants(*tenants: TenantId) -> Call:
    return call(Grant(caller="c", methods=frozenset(), tenants=frozenset(tenants)))


def of_operators(*operators: OperatorScope) -> Call:
    return call(Grant(caller="c", methods=frozenset(), operators=frozenset(operators)))


def test_an_empty_tenant_id_means_the_only_one() -> None:
    """One tenant needs no name."""
    assert TenantDirectory({ONE: "1"}).resolve("", call()) == "1"


def test_an_empty_tenant_id_among_several_is_refused_by_field() -> None:
    """Guessing a tenant could score for another company."""
    with pytest.raises(InvalidField) as refused:
        TENANTS.resolve("", call())
    assert [fault.field for fault in refused.value.faults] == ["tenant_id"]


def test_an_empty_tenant_id_means_the_callers_only_one() -> None:
    """How many there are beside it is not the caller's business."""
    asked = of_tenants(TWO)
    assert "2" == TENANTS.resolve("", asked)
    assert {"tenant": "two"} == recorded(asked)


def test_a_caller_of_several_tenants_names_one() -> None:
    """As for a caller with access to everything."""
    with pytest.raises(InvalidField):
        TENANTS.resolve("", of_tenants(ONE, TWO))


@pytest.mark.parametrize("asked", ["three", "ONE", "one "])
def test_an_unknown_tenant_is_refused(asked: str) -> None:
    """Ids are compared exactly."""
    with pytest.raises(TenantUnknown):
        TENANTS.resolve(asked, call())


def test_no_tenant_at_all_is_refused() -> None:
    """Without a tenant, the error names the missing setting."""
    with pytest.raises(TenantUnknown, match="TENANT_ID"):
        TenantDirectory[str]({}).resolve("", call())


def refusal_of(tenant_id: str, by: Call) -> tuple[type[GatewayError], str]:
    with pytest.raises(GatewayError) as refused:
        TENANTS.resolve(tenant_id, by)
    return type(refused.value), refused.value.message


def test_a_refusal_does_not_tell_whether_there_is_such_a_tenant() -> None:
    """The tenant of another caller and an unknown tenant get the same refusal."""
    assert NotAllowed is refusal_of("one", of_tenants(TWO))[0]
    assert refusal_of("one", of_tenants(TWO)) == refusal_of("nobody's", of_tenants(TWO))


def test_a_caller_without_tenants_reaches_none() -> None:
    """What the policy leaves out is closed, the only tenant included."""
    with pytest.raises(NotAllowed):
        TenantDirectory({ONE: "1"}).resolve("", of_tenants())


def test_a_refused_call_says_what_it_asked_for() -> None:
    """The audit record of a refusal names the tenant."""
    asked = of_tenants(TWO)
    refusal_of("one", asked)
    assert {"tenant": "one"} == recorded(asked)


def test_a_call_without_a_caller_reaches_nothing() -> None:
    """A chain that forgot to find out who calls opens nothing."""
    deadline = Deadline.after(5, SystemClock())
    nobody = Call(method="m", peer=Peer(address=""), request_id="r", deadline=deadline, arrived_at=0.0)
    with pytest.raises(NotAllowed):
        TENANTS.resolve("one", nobody)
    with pytest.raises(NotAllowed):
        OPERATORS.resolve("acme", PROD, nobody)


@pytest.mark.parametrize(
    ("code", "environment", "expected"),
    [("acme", SANDBOX, "as"), ("acme", PROD, "ap"), ("zeta", None, "zp"), ("", SANDBOX, "as")],
)
def test_what_is_left_empty_means_the_only_one(code: str, environment: Environment | None, expected: str) -> None:
    """Each member may be left out where the other one settles it."""
    assert expected == OPERATORS.resolve(code, environment, call())


@pytest.mark.parametrize(("code", "environment", "field"), [("acme", None, "environment"), ("", PROD, "operator_code")])
def test_an_ambiguous_operator_is_refused_by_the_member_that_is_needed(
    code: str, environment: Environment | None, field: str
) -> None:
    """Sandbox is never taken for prod, nor one operator for another."""
    with pytest.raises(InvalidField) as refused:
        OPERATORS.resolve(code, environment, call())
    assert [field] == [fault.field for fault in refused.value.faults]


def test_an_operator_in_another_environment_is_unknown() -> None:
    """A known code does not open the other environment."""
    with pytest.raises(OperatorUnknown):
        OperatorDirectory({(ACME, SANDBOX): "as"}).resolve("acme", PROD, call())


@pytest.mark.parametrize(("code", "environment"), [("acme", PROD), ("zeta", PROD), ("nobody", PROD), ("zeta", None)])
def test_a_sandbox_only_caller_reaches_no_other_environment(code: str, environment: Environment | None) -> None:
    """For its own operator, for another one and for an unknown one."""
    asked = of_operators((ACME, SANDBOX))
    with pytest.raises(NotAllowed):
        OPERATORS.resolve(code, environment, asked)
    assert code == asked.record.operator


@pytest.mark.parametrize(("code", "environment"), [("", None), ("acme", None), ("", SANDBOX)])
def test_an_empty_operator_means_the_callers_only_one(code: str, environment: Environment | None) -> None:
    """However many there are beside it."""
    asked = of_operators((ACME, SANDBOX))
    assert "as" == OPERATORS.resolve(code, environment, asked)
    assert {"operator": "acme", "environment": "sandbox"} == recorded(asked)


def test_a_caller_sees_only_its_own() -> None:
    """Lists hold the caller's own, in the configuration's order."""
    grant = of_operators((ZETA, PROD), (ACME, PROD)).grant
    assert ["ap", "zp"] == list(OPERATORS.seen_by(grant))
    assert [] == list(TENANTS.seen_by(grant))
    assert ["1", "2"] == list(TENANTS.seen_by(FULL_GRANT))
