"""Ports of test servers: test workers share none, and a port that was given is not given again soon."""

from __future__ import annotations

from itertools import combinations

import pytest

from tests.ports import free_port, own_ports


@pytest.mark.parametrize("workers", [1, 2, 3, 16])
def test_no_two_workers_share_a_port(workers: int) -> None:
    """A server binds its port a second after it was chosen; another worker's server would answer in its place."""
    shares = [own_ports(f"gw{number}", workers) for number in range(workers)]
    assert all(not set(one) & set(other) for one, other in combinations(shares, 2))
    assert all(len(share) >= 600 for share in shares)


def test_a_single_run_has_them_all() -> None:
    """Without test workers there is no share."""
    assert len(own_ports("", 1)) == 10_000


def test_a_port_is_not_given_twice() -> None:
    """Not before all others were."""
    assert len({free_port() for _ in range(500)}) == 500
