"""docs/errors.md and the error tree say the same."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from google.rpc import code_pb2

from gateway import errors

DOC = (Path(__file__).parents[2] / "docs" / "errors.md").read_text()
ROW = re.compile(r"^\| `([A-Z_]+)` \| ([A-Z_]+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)


def leaves(kind: type[errors.GatewayError] = errors.GatewayError) -> Iterator[type[errors.GatewayError]]:
    """The errors that are raised: those without further kinds below them."""
    below = [one for one in kind.__subclasses__() if one.__module__.startswith("gateway.errors.")]
    if not below:
        yield kind
    for one in below:
        yield from leaves(one)


def retry(kind: type[errors.GatewayError]) -> str:
    return "–" if kind.default_retry_after_s is None else f"{kind.default_retry_after_s:g} s"


def test_every_reason_is_described() -> None:
    """The table has each reason with its status and RetryInfo, in the order of the tree, and no other."""
    described = [(reason, status, reported.strip()) for reason, status, reported, _, _ in ROW.findall(DOC)]
    assert described == [(kind.reason, kind.code, retry(kind)) for kind in leaves()]


def test_every_reason_has_cause_and_advice() -> None:
    """Each row has sentences with the cause and the remedy."""
    wrong = [
        reason
        for reason, _, _, cause, advice in ROW.findall(DOC)
        if not (cause.strip().endswith(".") and advice.strip().endswith(".") and cause.strip() != advice.strip())
    ]
    assert wrong == []


def test_no_row_is_overlooked() -> None:
    """Every line of the table is one that the tests above read."""
    body = [line for line in DOC.splitlines() if line.startswith("| `")]
    assert len(body) == len(ROW.findall(DOC))


def test_reasons_are_unique_and_statuses_exist() -> None:
    """One reason names one error, and every status is gRPC's."""
    kinds = list(leaves())
    unknown = [kind.code for kind in kinds if kind.code not in set(code_pb2.Code.keys())]
    assert (len({kind.reason for kind in kinds}), unknown) == (len(kinds), [])
