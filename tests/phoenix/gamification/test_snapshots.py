"""Reading snapshots: times in paths and queries, and users without an entry."""

import pytest

from gateway import errors
from gateway.core.types import TenantId
from gateway.phoenix.gamification.snapshots import SnapshotsClient
from gateway.resilience.deadline import Deadline
from tests.phoenix.fake_phoenix import CLOCK, FakePhoenix, fake_phoenix

NOON_US = 1_763_467_200_000_000
LIST = "/v1/snapshots/t/xp"
ONE = f"{LIST}/2025-11-18T12%3A00%3A00Z"


def of(phoenix: FakePhoenix) -> SnapshotsClient:
    return SnapshotsClient(
        retrying=phoenix.retrying,
        base_url=phoenix.url,
        tenant_id=TenantId("t"),
        authorize=lambda method, raw_path, body: {"x-api-key": f"{method} {raw_path} {len(body)}"},
    )


def soon() -> Deadline:
    return Deadline.after(5.0, CLOCK)


async def test_a_span_is_listed() -> None:
    """Its ends go into the query where they are given."""
    async with fake_phoenix(**{f"GET {LIST}": [(200, b'{"snapshots":["2025-11-18T12:00:00Z"]}')]}) as phoenix:
        (found,) = await of(phoenix).listed("xp", soon(), limit=3, since_us=NOON_US, until_us=None)
        await of(phoenix).listed("xp", soon(), limit=3, since_us=None, until_us=None)
        assert found.taken_at_us == NOON_US
        paths = [seen.path for seen in phoenix.seen]
        assert paths == [f"{LIST}?from=2025-11-18T12%3A00%3A00Z&limit=3", f"{LIST}?limit=3"]


async def test_a_page_is_read_from_the_path_that_is_signed() -> None:
    """The time's colons are encoded in both."""
    body = b'{"window_key":"w","entries":[{"rank":1,"user_id":"u","score":5}]}'
    async with fake_phoenix(**{f"GET {ONE}": [(200, body)]}) as phoenix:
        page = await of(phoenix).page("xp", NOON_US, soon(), limit=10, offset=20)
        assert (page.window_key, len(page.entries)) == ("w", 1)
        assert phoenix.seen[0].path == f"{ONE}?limit=10&offset=20"
        assert phoenix.seen[0].headers["x-api-key"] == f"GET {ONE} 0"


async def test_a_users_place_is_read_or_certainly_not_there() -> None:
    """A 404 that can mean the snapshot too is not found."""
    routes = {
        f"GET {ONE}/user/u": [(200, b'{"rank":2,"score":3}')],
        f"GET {ONE}/user/v": [(404, b'{"code":"USER_NOT_FOUND"}')],
        f"GET {ONE}/user/w": [(404, b'{"code":"SNAPSHOT_NOT_FOUND"}')],
    }
    async with fake_phoenix(**routes) as phoenix:
        places = [await of(phoenix).user("xp", NOON_US, user, soon()) for user in "uv"]
        assert [(True, 2), (False, None)] == [(place.ranked, place.rank) for place in places]
        with pytest.raises(errors.PhoenixNotFound):
            await of(phoenix).user("xp", NOON_US, "w", soon())
