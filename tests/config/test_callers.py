"""The policy's tables: what they open, and every fault by its place."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any

import pytest

from gateway.config.callers import PolicyNames, read_callers
from gateway.config.faults import Faults
from gateway.core.rights import Access, Callers, CallLimits, ClaimLimits, Scope
from gateway.core.types import Environment, OperatorCode, TenantId

SANDBOX, PROD = Environment.SANDBOX, Environment.PROD
ACME, ZETA = OperatorCode("acme"), OperatorCode("zeta")
ACCESS: Mapping[str, Access] = {
    "/p.v1.Boards/Get": Access(right="boards.read", scope=Scope.TENANT),
    "/p.v1.Boards/List": Access(right="boards.read", scope=Scope.TENANT),
    "/p.v1.Boards/Make": Access(right="boards.admin.write", scope=Scope.TENANT),
    "/p.v1.Tokens/Mint": Access(right="tokens.mint", scope=Scope.OPERATOR),
    "/p.v1.Health/Check": Access(right="health", scope=Scope.CALLER, always=True),
    "/p.v1.Reflection/Info": Access(right="reflection", scope=Scope.CALLER),
}
KNOWN = PolicyNames(
    access=ACCESS,
    tenants=(TenantId("one"), TenantId("two")),
    operators=((ACME, SANDBOX), (ACME, PROD), (ZETA, PROD)),
)


def read(text: str) -> tuple[Callers | None, list[str]]:
    """The callers of this text, and the places of its faults."""
    faults = Faults()
    callers = read_callers(tomllib.loads(text), KNOWN, faults)
    return callers, [one.setting for one in faults.found]


def grant_of(members: str, before: str = "") -> Any:
    """What a caller with these members may do."""
    callers, faults = read(f'{before}\n[[callers]]\nname = "game"\n{members}')
    assert faults == []
    assert callers is not None
    return callers.by_name["game"]


def opened(members: str, before: str = "") -> set[str]:
    return {method.rsplit("/", 1)[-1] for method in grant_of(members, before).methods}


def test_what_is_left_out_is_closed() -> None:
    """A caller with only a name may call the health service."""
    grant = grant_of("")
    assert ({"/p.v1.Health/Check"}, set(), set(), ()) == (grant.methods, grant.tenants, grant.operators, grant.paths)


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ('allow = ["boards.read"]', {"Get", "List"}),
        ('allow = ["Boards/Make"]', {"Make"}),
        ('allow = ["p.v1.Boards/Make"]', {"Make"}),
        ('allow = ["boards.*"]', {"Get", "List", "Make"}),
        ('allow = ["boards.admin.*", "tokens.mint"]', {"Make", "Mint"}),
        ('allow = ["*"]', {"Get", "List", "Make", "Mint", "Info"}),
        ("reflection = true", {"Info"}),
    ],
)
def test_rights_methods_and_patterns_open_methods(members: str, expected: set[str]) -> None:
    """By right, by name with and without its package, by the beginning of rights."""
    assert expected | {"Check"} == opened(members)


def test_roles_are_shared_lists() -> None:
    """A caller has the rights of its roles and its own."""
    roles = '[roles]\nreader = ["boards.read"]\nminter = ["tokens.mint"]'
    assert {"Get", "List", "Make", "Check"} == opened('roles = ["reader"]\nallow = ["Boards/Make"]', roles)


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ('operators = ["acme/sandbox"]', {(ACME, SANDBOX)}),
        ('operators = ["acme/*"]', {(ACME, SANDBOX), (ACME, PROD)}),
        ('operators = ["*"]\nenvironments = ["prod"]', {(ACME, PROD), (ZETA, PROD)}),
        ('operators = ["acme/*", "zeta/prod"]\nenvironments = ["sandbox"]', {(ACME, SANDBOX)}),
        ('operators = ["*"]\nenvironments = []', set()),
        ('operators = ["*"]', None),
        ('operators = ["acme/sandbox", "*"]', None),
    ],
)
def test_operators_are_environments_of_operators(members: str, expected: set[Any] | None) -> None:
    """`environments` only restricts. Only "*" includes environments that are configured later."""
    assert expected == grant_of(members).operators


def test_every_tenant_is_a_word() -> None:
    """It includes those that are configured later, also beside other values."""
    assert [None, None, {"one"}] == [
        grant_of(f"tenants = {tenants}").tenants for tenants in ('["*"]', '["one", "*"]', '["one"]')
    ]


def test_bounds_are_read() -> None:
    """For tokens, paths and calls. Without a setting there is no limit."""
    grant = grant_of(
        'max_token_ttl_s = 60\ncurrencies = ["EUR"]\nphoenix_paths = ["QUERY GET /v1/*/x"]\n'
        "limits = {requests_per_s = 0.5, concurrent = 3}"
    )
    assert ClaimLimits(max_ttl_s=60, currencies=frozenset({"EUR"})) == grant.claims
    assert ["GET /v1/*/x"] == [str(one) for one in grant.paths]
    assert CallLimits(requests_per_s=0.5, events_per_s=None, concurrent=3) == grant.limits
    assert frozenset() == grant_of("currencies = []").claims.currencies
    assert ClaimLimits() == grant_of("").claims


def test_tenants_have_limits_of_their_own() -> None:
    """One that is not named has those of "*"."""
    callers, faults = read(
        '[tenant_limits]\n"*" = {events_per_s = 5}\none = {requests_per_s = 9}\n"acme/prod" = {concurrent = 3}\n'
        '[[callers]]\nname = "game"'
    )
    assert ([], True) == (faults, callers is not None)
    assert callers is not None
    assert (9.0, 5.0) == (callers.tenant_limits("one").requests_per_s, callers.tenant_limits("two").events_per_s)
    assert CallLimits() == read('[[callers]]\nname = "game"')[0].tenant_limits("one")  # type: ignore[union-attr]


def test_a_file_without_a_policy_has_none() -> None:
    """Not even an empty one."""
    assert (None, []) == read("")


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("callers = []", ["callers"]),
        ("[roles]", ["callers"]),
        ("callers = 3", ["callers", "callers"]),
        ("[[callers]]", ["callers[0].name", "callers"]),
        ('[[callers]]\nname = "a b"', ["callers[0].name", "callers"]),
        ('[[callers]]\nname = "a"\n[[callers]]\nname = "a"', ["callers[1].name"]),
        ('[[callers]]\nname = "a"\nalow = ["x"]', ["callers[0].alow"]),
        ('[[callers]]\nname = "a"\nallow = ["boards.reed", "Boards/Gett"]',
         ["callers[0].allow[0]", "callers[0].allow[1]"]),
        ('[[callers]]\nname = "a"\nallow = ["board.*"]', ["callers[0].allow[0]"]),
        ('[[callers]]\nname = "a"\nallow = "boards.read"', ["callers[0].allow"]),
        ('[[callers]]\nname = "a"\nallow = ["x"]\n[[callers]]\nname = "b"\nallow = ["x"]',
         ["callers[0].allow[0]", "callers[1].allow[0]"]),
        ('[[callers]]\nname = "a"\nroles = ["reader"]', ["callers[0].roles[0]"]),
        ('[roles]\nr = ["x"]\n[[callers]]\nname = "a"', ["roles.r[0]"]),
        ('[roles]\nr = 1\n[[callers]]\nname = "a"', ["roles.r"]),
        ('[[callers]]\nname = "a"\ntenants = ["one", "three"]', ["callers[0].tenants[1]"]),
        ('[[callers]]\nname = "a"\noperators = ["acme", "acme/live", "beta/*"]',
         ["callers[0].operators[0]", "callers[0].operators[1]", "callers[0].operators[2]"]),
        ('[[callers]]\nname = "a"\nenvironments = ["production"]', ["callers[0].environments[0]"]),
        ('[[callers]]\nname = "a"\nids = ["spiffe://", "*.example", "a b"]',
         ["callers[0].ids[0]", "callers[0].ids[1]", "callers[0].ids[2]"]),
        ('[[callers]]\nname = "a"\nids = ["x.example"]\n[[callers]]\nname = "b"\nids = ["X.example"]',
         ["callers[1].ids[0]"]),
        ('[[callers]]\nname = "a"\nmax_token_ttl_s = 0', ["callers[0].max_token_ttl_s"]),
        ('[[callers]]\nname = "a"\nmax_token_ttl_s = true', ["callers[0].max_token_ttl_s"]),
        ('[[callers]]\nname = "a"\ncurrencies = ["euro"]', ["callers[0].currencies[0]"]),
        ('[[callers]]\nname = "a"\nphoenix_paths = ["GET v1"]', ["callers[0].phoenix_paths[0]"]),
        ('[[callers]]\nname = "a"\nreflection = "yes"', ["callers[0].reflection"]),
        ('[[callers]]\nname = "a"\nlimits = {rps = 3}', ["callers[0].limits"]),
        ('[[callers]]\nname = "a"\nlimits = {requests_per_s = -1, concurrent = 1.5}',
         ["callers[0].limits.requests_per_s", "callers[0].limits.concurrent"]),
        ('[tenant_limits]\nthree = {concurrent = 1}\n[[callers]]\nname = "a"', ["tenant_limits[0]"]),
    ],
)  # fmt: skip
def test_every_fault_is_reported_with_its_place(text: str, places: list[str]) -> None:
    """All at once, and nothing of the values."""
    assert places == read(text)[1]


def test_a_fault_does_not_repeat_what_was_written() -> None:
    """A secret may be in the wrong place."""
    secret = "hunter2-4f1dd27c"
    faults = Faults()
    tables = {"name": "a", "allow": [secret], "ids": [f"x {secret}"], "tenants": [secret], "operators": [secret]}
    read_callers({"callers": [{**tables, "roles": [secret], "currencies": [secret]}]}, KNOWN, faults)
    assert len(faults.found) == 6
    assert secret not in "".join(map(str, faults.found))
