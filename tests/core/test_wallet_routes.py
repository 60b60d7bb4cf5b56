"""Which route a path and a method are, however they are written."""

from __future__ import annotations

import json

import pytest

from gateway.core.types import Environment
from gateway.core.wallet import OperationKind, Verdict, WalletAdapter, find_route, parse_operation, route_anomalies
from tests.core.wallet_bodies import (
    MOVE,
    header,
    operation_of,
    parse,
    verdict_of,
)


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/wallet/transactions/", "POST"),
        ("/wallet//transactions", "POST"),
        ("//wallet/transactions//", "POST"),
        ("/wallet/./transactions", "POST"),
        ("/./wallet/transactions/.", "POST"),
        ("/wallet/balance/../transactions", "POST"),
        ("/wallet/trans%61ctions", "POST"),
        ("/shop/wallet/transactions?" + "q" * 2100, "POST"),
        ("https://wallet.example/hooks/wallet/transactions/#top", "POST"),
        ("/wallet/transactions", "post"),
        ("/wallet/transactions", "Post"),
    ],
)
def test_equivalent_paths_and_methods_are_one_route(path: str, method: str) -> None:
    """Slashes, dots, a query and the case of the method make no difference."""
    assert operation_of(parse(MOVE, path=path, method=method)).kind is OperationKind.MOVE


@pytest.mark.parametrize(
    ("path", "method", "anomalies"),
    [
        ("/wallet/transactions", "POST", set()),
        ("/shop/wallet/transactions", "POST", set()),
        ("/wallet/transactions/", "POST", {"PATH"}),
        ("/wallet//transactions", "POST", {"PATH"}),
        ("/wallet/./transactions?a=b", "post", {"PATH", "QUERY", "METHOD"}),
        ("", "POST", set()),
    ],
)
def test_odd_paths_and_methods_are_counted(path: str, method: str, anomalies: set[str]) -> None:
    """Each oddity has its name."""
    assert {one.value for one in route_anomalies(method, path)} == anomalies


def test_a_named_route_counts_in_place_of_the_path() -> None:
    """A wallet may mount its webhooks anywhere; the operation must still be of the route."""
    for kind in OperationKind:
        assert find_route("POST", "/hooks/phoenix", kind) is kind
    assert find_route("GET", "/hooks/phoenix", OperationKind.MOVE) is None
    found = parse_operation(
        OperationKind.BALANCE, json.dumps(MOVE).encode(), header("k-1"), WalletAdapter(), "op-1", Environment.PROD
    )
    assert verdict_of(found) is Verdict.UNREADABLE_OPERATION
