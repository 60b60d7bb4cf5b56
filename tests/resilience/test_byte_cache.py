"""A cache bounded by bytes, in all and for each group."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.resilience.byte_cache import ENTRY_OVERHEAD, ByteCache

LOADED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""The machine may be busy with other things."""

KB = 1000 - ENTRY_OVERHEAD
"""A value that counts 1,000 bytes."""


def test_the_longest_unused_goes_first() -> None:
    """Reading an entry keeps it."""
    cache: ByteCache[str, str, int] = ByteCache(max_bytes=3000, group_share=1)
    for number, key in enumerate("abc"):
        cache.put(key, key, number, KB)
    assert 0 == cache.get("a")
    cache.put("d", "d", 3, KB)
    assert [0, None, 2, 3] == [cache.get(key) for key in "abcd"]


def test_a_big_group_pushes_out_only_itself() -> None:
    """A thousand pages of one board leave the others where they are."""
    cache: ByteCache[str, str, int] = ByteCache(max_bytes=10_000, group_share=0.5)
    cache.put("small", "s", 1, KB)
    for page in range(1000):
        cache.put("big", f"b{page}", page, KB)
    assert (1, 5000, 999) == (cache.get("s"), cache.group_size("big"), cache.get("b999"))


def test_what_is_larger_than_a_share_is_not_kept() -> None:
    """It would push out the rest of its group for nothing; an older value of its key goes all the same."""
    cache: ByteCache[str, str, int] = ByteCache(max_bytes=10_000, group_share=0.5)
    cache.put("g", "k", 1, KB)
    cache.put("g", "other", 2, KB)
    cache.put("g", "k", 3, 6000)
    assert (None, 2) == (cache.get("k"), cache.get("other"))


@LOADED
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 9), st.integers(0, 4000), st.booleans()),
        max_size=60,
    )
)
def test_the_bounds_always_hold(steps: list[tuple[int, int, int, bool]]) -> None:
    """For any sequence of writes and reads, a read returns the last write."""
    cache: ByteCache[int, int, int] = ByteCache(max_bytes=12_000, group_share=0.4)
    last: dict[int, int] = {}
    for number, (group, key, size, reads) in enumerate(steps):
        if reads:
            assert cache.get(key) in (None, last.get(key))
        else:
            cache.put(group, key, number, size)
            last[key] = number
        assert cache.size <= 12_000
        assert cache.size == sum(cache.group_size(each) for each in range(4))
        assert all(cache.group_size(each) <= 4800 for each in range(4))


@pytest.mark.parametrize(("max_bytes", "share"), [(-1, 0.5), (10, 0), (10, 1.1)])
def test_senseless_bounds_are_refused(max_bytes: int, share: float) -> None:
    """Before anything is kept."""
    with pytest.raises(ValueError, match="group_share"):
        ByteCache(max_bytes=max_bytes, group_share=share)
