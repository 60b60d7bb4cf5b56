"""Every cell of the matrix that `policy matrix` prints, called over real mutual TLS."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.gateway_process import GatewayProcess
from tests.integration.method_requests import PATHS_OPEN, outcome, request_for
from tests.policy_setup import PolicySetup, caller, identity, start_policy_setup

ROOT = Path(__file__).resolve().parents[2]
POLICY = "".join(
    [
        '[roles]\nfront = ["boards.read", "tokens.mint.launch"]\n',
        caller("game", roles=["front"], allow=["events.*"], tenants=["one"], operators=["acme/sandbox"]),
        caller("wallet", allow=["wallet.*", "evidence.*"], operators=["acme/*"]),
        caller("operations", allow=["*"], tenants=["*"], operators=["*"], phoenix_paths=PATHS_OPEN),
        caller(
            "studio",
            allow=["boards.*", "phoenix.call", "TokenService/MintTenantJWT", "keys.read"],
            tenants=["one", "two"],
            operators=["*"],
            environments=["sandbox"],
            phoenix_paths=PATHS_OPEN,
            reflection=True,
        ),
        caller("idle", tenants=["*"], operators=["*"]),
    ]
)
CALLERS = ("game", "wallet", "operations", "studio", "idle")
OPEN_IS = {"OK", "PHOENIX_NOT_FOUND"}
"""How a call of an open cell ends: it is done, or Phoenix or the store has nothing of that name."""
NOBODYS = {"TENANT_UNKNOWN", "OPERATOR_UNKNOWN"}
"""And the result for a caller with all rights that asks for an unknown one."""


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PolicySetup]:
    """The sandbox with all callers."""
    with start_policy_setup(tmp_path_factory.mktemp("policy")) as made:
        yield made


@pytest.fixture(scope="module")
def gateway(setup: PolicySetup) -> Iterator[GatewayProcess]:
    """A gateway with the policy above."""
    with setup.gateway(POLICY) as process:
        yield process


@pytest.fixture(scope="module")
def cells(setup: PolicySetup, gateway: GatewayProcess) -> list[dict[str, Any]]:
    """The matrix, as the command line prints it."""
    command = [sys.executable, "-m", "gateway", "policy", "matrix", str(setup.folder / "gateway.toml"), "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found: list[dict[str, Any]] = json.loads(done.stdout)["cells"]
    return found


@pytest.mark.timeout(120)  # a thousand calls
def test_every_cell_is_as_the_matrix_says(
    setup: PolicySetup, gateway: GatewayProcess, cells: list[dict[str, Any]]
) -> None:
    """Each method, for each caller, tenant, operator and environment: open cells are served, closed ones refused.

    Only callers with access to everything learn that an unknown one (`*`) does not exist.
    """
    wrong = []
    with ExitStack() as stack:
        channels = {name: stack.enter_context(setup.channel(gateway, identity(name))) for name in CALLERS}
        for cell in cells:
            came = _called(channels[cell["caller"]], cell)
            is_nobodys = "*" in (cell["tenant"], cell["operator"])
            fits = came in (NOBODYS if is_nobodys else OPEN_IS) if cell["allowed"] else came == "NOT_ALLOWED"
            if not fits:
                wrong.append((came, cell))
    assert wrong == []


def _called(channel: grpc.Channel, cell: dict[str, Any]) -> str:
    nobody = {"*": "nobodys"}
    request = request_for(
        cell["method"],
        tenant=nobody.get(cell["tenant"], cell["tenant"]),
        operator=nobody.get(cell["operator"], cell["operator"]),
        environment={"*": "prod"}.get(cell["environment"], cell["environment"]),
    )
    return outcome(channel, cell["method"], request)


def test_the_matrix_has_every_cell(cells: list[dict[str, Any]], setup: PolicySetup) -> None:
    """Every method that is served, for each caller; both answers occur for each caller but the one who may nothing."""
    from gateway.interceptors.policy import METHODS

    assert {method.removeprefix("/") for method in METHODS} == {cell["method"] for cell in cells}
    per_caller = {name: [cell["allowed"] for cell in cells if cell["caller"] == name] for name in CALLERS}
    assert len({len(answers) for answers in per_caller.values()}) == 1
    assert {name: sum(answers) for name, answers in per_caller.items()}["idle"] == 3  # health
    assert all(0 < sum(answers) for answers in per_caller.values())
    tenant_cells = [cell for cell in cells if cell["tenant"] and cell["caller"] == "game"]
    assert {cell["tenant"] for cell in tenant_cells} == {"one", "two", "*"}
    operator_cells = {(cell["operator"], cell["environment"]) for cell in cells if cell["operator"]}
    assert operator_cells == {("acme", "sandbox"), ("acme", "prod"), ("zeta", "sandbox"), ("*", "*")}


def test_an_unknown_certificate_may_only_call_health(
    setup: PolicySetup, gateway: GatewayProcess, cells: list[dict[str, Any]]
) -> None:
    """A valid certificate opens nothing that the policy does not allow."""
    with setup.channel(gateway, "spiffe://test.internal/stranger") as channel:
        came = {cell["method"]: _called(channel, cell) for cell in cells if cell["caller"] == "operations"}
    assert {method for method, reason in came.items() if reason != "NOT_ALLOWED"} == {
        "grpc.health.v1.Health/Check",
        "grpc.health.v1.Health/List",
        "grpc.health.v1.Health/Watch",
    }
