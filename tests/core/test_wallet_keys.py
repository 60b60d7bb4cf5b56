"""The idempotency key: of the header, of a probe, and where there may be several."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.core.wallet import OperationKind, Verdict
from tests.core.wallet_bodies import (
    MOVE,
    PROBE,
    STATUS,
    operation_of,
    parse,
    verdict_of,
)


@pytest.mark.parametrize("key", ["k1,k2", "k1, k2", "k1,k2,k1", "k-1, k-", "k-1,a\x00b", "k-1,\x7f, k-1", ","])
def test_a_key_that_may_be_several_is_ambiguous(key: str) -> None:
    """AMBIGUOUS_HEADERS: a proxy may have folded two different headers, of which one may be cut."""
    assert verdict_of(parse(MOVE, key=key)) is Verdict.AMBIGUOUS_HEADERS


@pytest.mark.parametrize("key", ["k1,k1", "k1, k1", "k1 ,\tk1, k1"])
def test_folded_copies_of_a_key_are_one_key(key: str) -> None:
    """A proxy folded equal headers."""
    assert operation_of(parse(MOVE, key=key)).idempotency_key == "k1"


@pytest.mark.parametrize("key", ["a" * 1025, "ü" * 513, "a\nb", "a\x00", "a\x7f"])
def test_keys_that_cannot_be_trusted_or_kept_are_in_doubt(key: str) -> None:
    """Too long, control characters, perhaps two headers joined: 503, and no second move."""
    assert verdict_of(parse(MOVE, key=key)) is Verdict.UNREADABLE_OPERATION


@pytest.mark.parametrize("key", ["k", "a" * 1024, "01890-abc:reserve", "ü", "a b", "{}"])
def test_keys_are_opaque(key: str) -> None:
    """A key of any form is used unchanged."""
    assert operation_of(parse(MOVE, key=key)).idempotency_key == key


def test_a_comma_in_a_key_is_fine_where_the_signed_body_repeats_it() -> None:
    """The signed body proves that the comma belongs to the key."""
    assert operation_of(parse(MOVE | {"idempotency_key": "k1,k2"}, key="k1,k2")).idempotency_key == "k1,k2"


@pytest.mark.parametrize(
    ("members", "header_key", "verdict"),
    [
        ({}, "k-1", Verdict.VERIFIED),
        ({}, None, Verdict.VERIFIED),
        ({}, "k-2", Verdict.UNREADABLE_OPERATION),
        ({"idempotency_key": None}, "k-1", Verdict.VERIFIED),
        ({"idempotency_key": 7}, None, Verdict.UNREADABLE_OPERATION),
        ({"idempotency_key": "a\n"}, None, Verdict.UNREADABLE_OPERATION),
    ],
)
def test_a_probe_takes_its_key_from_header_or_body(
    members: dict[str, Any], header_key: str | None, verdict: Verdict
) -> None:
    """Either is enough; two that differ are in doubt."""
    assert verdict_of(parse(PROBE | members, path=STATUS, key=header_key)) is verdict


@pytest.mark.parametrize(
    ("members", "original"),
    [
        ({}, None),
        ({"original_operation": None}, None),
        ({"original_operation": "credit_cash"}, "credit_cash"),
        ({"original": {"operation": "capture_cash"}}, "capture_cash"),
        ({"original_operation": "credit_cash", "original": {"operation": "credit_cash"}}, "credit_cash"),
    ],
)
def test_a_probe_names_its_original_in_one_of_several_places(members: dict[str, Any], original: str | None) -> None:
    """The candidates of the settings are looked at; none is needed."""
    read = operation_of(parse(PROBE | members, path=STATUS))
    assert (read.kind, read.original_operation, read.idempotency_key) == (OperationKind.PROBE, original, "k-1")


@pytest.mark.parametrize(
    "members",
    [
        {"original_operation": "balance"},
        {"original_operation": "burn"},
        {"original_operation": 7},
        {"original": "credit_cash"},
        {"original_operation": "credit_cash", "original": {"operation": "reserve_cash"}},
    ],
)
def test_a_probe_that_names_no_known_original_is_in_doubt(members: dict[str, Any]) -> None:
    """An answer about another move than the one meant could make Phoenix repeat it or drop it."""
    assert verdict_of(parse(PROBE | members, path=STATUS)) is Verdict.UNREADABLE_OPERATION
