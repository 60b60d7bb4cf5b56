"""Boards by definition: made once, found again."""

import pytest

from gateway import errors
from gateway.core.types import TenantId
from gateway.errors import Effect
from gateway.phoenix.gamification.admin import AdminClient
from gateway.phoenix.http_types import Answer, AnswerLost
from gateway.phoenix.retry import RetryingSender
from gateway.resilience.deadline import Deadline
from tests.phoenix.fake_phoenix import CLOCK, FakePhoenix, fake_phoenix
from tests.phoenix.scripted_sender import ScriptedSender, Step

LIST, CREATE = "GET /tenants/t/leaderboards", "POST /tenants/t/leaderboards"
EMPTY = b'{"total":0,"leaderboards":[]}'
BOARD = b'{"leaderboard_id":"xp","tenant_id":"t","name":"XP","status":"active"}'
LISTED = b'{"total":1,"leaderboards":[' + BOARD + b"]}"


def of(phoenix: FakePhoenix) -> AdminClient:
    return AdminClient(
        retrying=phoenix.retrying,
        base_url=phoenix.url,
        tenant_id=TenantId("t"),
        authorize=lambda method, raw_path, body: {"x-api-key": "k"},
    )


async def no_pause(seconds: float) -> None:
    pass


def over(*steps: Step) -> tuple[AdminClient, ScriptedSender]:
    sender = ScriptedSender(*steps)
    client = AdminClient(
        retrying=RetryingSender(sender=sender, clock=CLOCK, pause=no_pause),
        base_url="https://admin.example",
        tenant_id=TenantId("t"),
        authorize=lambda method, raw_path, body: {},
    )
    return client, sender


def soon() -> Deadline:
    return Deadline.after(5.0, CLOCK)


async def test_health_proves_the_key() -> None:
    """A 200 whatever it holds."""
    async with fake_phoenix(**{"GET /health": [(200, b"ok")]}) as phoenix:
        await of(phoenix).check_health(soon())
        assert phoenix.seen[0].headers["x-api-key"] == "k"


async def test_health_with_a_bad_key_is_a_rejection() -> None:
    """After the second request, the error is returned."""
    async with fake_phoenix(**{"GET /health": [(401, b"")]}) as phoenix:
        with pytest.raises(errors.PhoenixRejectedCredentials):
            await of(phoenix).check_health(soon())
        assert len(phoenix.seen) == 2


async def test_a_board_that_is_there_is_left_as_it_is() -> None:
    """Nothing is posted."""
    async with fake_phoenix(**{LIST: [(200, LISTED)]}) as phoenix:
        definition, created = await of(phoenix).ensure("xp", soon(), name="other")
        assert (definition.name, created, len(phoenix.seen)) == ("XP", False, 1)


@pytest.mark.parametrize(
    ("status", "body", "calls"), [(201, BOARD, 2), (200, b'{"data":' + BOARD + b"}", 2), (204, b"", 3)]
)
async def test_a_board_that_is_missing_is_made(status: int, body: bytes, calls: int) -> None:
    """Its definition is taken from the answer, or from the list where the answer holds none."""
    async with fake_phoenix(**{LIST: [(200, EMPTY), (200, LISTED)], CREATE: [(status, body)]}) as phoenix:
        definition, created = await of(phoenix).ensure("xp", soon(), name="XP", config_json=b'{"a":1}')
        assert (definition.leaderboard_id, created, len(phoenix.seen)) == ("xp", True, calls)
        assert phoenix.seen[1].body == b'{"leaderboard_id":"xp","tenant_id":"t","name":"XP","config":{"a":1}}'


async def test_a_board_that_another_made_meanwhile_is_found() -> None:
    """A conflict is no error here."""
    async with fake_phoenix(**{LIST: [(200, EMPTY), (200, LISTED)], CREATE: [(409, b"")]}) as phoenix:
        definition, created = await of(phoenix).ensure("xp", soon(), name="XP")
        assert (definition.leaderboard_id, created) == ("xp", False)


async def test_after_a_lost_answer_the_list_decides() -> None:
    """It was made, by whom is not certain; it is not posted twice."""
    client, sender = over(Answer(status=200, body=EMPTY), AnswerLost("x"), Answer(status=200, body=LISTED))
    definition, created = await client.ensure("xp", soon(), name="XP")
    assert (definition.leaderboard_id, created) == ("xp", False)
    assert [request.method for request in sender.sent] == ["GET", "POST", "GET"]


async def test_after_a_lost_answer_a_board_that_is_not_listed_is_unknown() -> None:
    """It may still come."""
    client, _ = over(Answer(status=200, body=EMPTY), AnswerLost("x"), Answer(status=200, body=EMPTY))
    with pytest.raises(errors.OutcomeUnknown):
        await client.ensure("xp", soon(), name="XP")


async def test_a_board_is_created_and_returned() -> None:
    """From the answer, without a look at the list."""
    async with fake_phoenix(**{CREATE: [(201, BOARD)]}) as phoenix:
        made = await of(phoenix).create("xp", soon(), name="XP", config_json=b"{}")
        assert (made.name, len(phoenix.seen)) == ("XP", 1)
        assert phoenix.seen[0].body == b'{"leaderboard_id":"xp","tenant_id":"t","name":"XP","config":{}}'


async def test_a_second_board_of_that_id_is_a_conflict() -> None:
    """Unlike `ensure`."""
    async with fake_phoenix(**{CREATE: [(409, b"")], LIST: [(200, LISTED)]}) as phoenix:
        with pytest.raises(errors.PhoenixConflict):
            await of(phoenix).create("xp", soon(), name="XP", config_json=b"{}")


async def test_a_creation_whose_answer_is_lost_is_unknown() -> None:
    """Sent once, and not called ours because such a board is there."""
    client, sender = over(AnswerLost("cut"))
    with pytest.raises(errors.OutcomeUnknown):
        await client.create("xp", soon(), name="XP", config_json=b"{}")
    assert len(sender.sent) == 1


@pytest.mark.parametrize(
    ("steps", "effect"),
    [
        ([500], Effect.MAYBE),
        ([204, 503, 503, 503], Effect.DONE),
        ([204, Answer(status=200, body=EMPTY)], Effect.DONE),
    ],
)
async def test_a_creation_that_may_have_happened_is_never_unavailable(steps: list[Step], effect: Effect) -> None:
    """A client would retry it, also if only the read after the creation fails."""
    client, _ = over(*steps)
    with pytest.raises(errors.OutcomeUnknown) as caught:
        await client.create("xp", soon(), name="XP", config_json=b"{}")
    assert caught.value.effect is effect


@pytest.mark.parametrize(
    ("steps", "reason", "effect"),
    [
        ([500, 503, 503, 503], "OUTCOME_UNKNOWN", Effect.MAYBE),
        ([AnswerLost("x"), 503, 503, 503], "OUTCOME_UNKNOWN", Effect.MAYBE),
        ([204, 503, 503, 503], "OUTCOME_UNKNOWN", Effect.DONE),
        ([204, Answer(status=200, body=EMPTY)], "OUTCOME_UNKNOWN", Effect.DONE),
        ([409, 503, 503, 503], "PHOENIX_UNAVAILABLE", Effect.NONE),
        ([503], "PHOENIX_UNAVAILABLE", Effect.NONE),
    ],
)
async def test_ensure_says_whether_it_may_have_made_the_board(steps: list[Step], reason: str, effect: Effect) -> None:
    """An unreadable list does not show whether the creation succeeded."""
    client, _ = over(Answer(status=200, body=EMPTY), *steps)
    with pytest.raises(errors.GatewayError) as caught:
        await client.ensure("xp", soon(), name="XP")
    assert (reason, effect) == (caught.value.reason, caught.value.effect)


async def test_ensure_finds_the_board_that_a_500_has_made() -> None:
    """As after a lost answer."""
    client, _ = over(Answer(status=200, body=EMPTY), Answer(status=500), Answer(status=200, body=LISTED))
    definition, created = await client.ensure("xp", soon(), name="XP")
    assert (definition.leaderboard_id, created) == ("xp", False)


async def test_a_definition_is_found_in_the_list() -> None:
    """Or is not there."""
    async with fake_phoenix(**{LIST: [(200, LISTED)]}) as phoenix:
        assert (await of(phoenix).definition("xp", soon())).name == "XP"
        with pytest.raises(errors.PhoenixNotFound):
            await of(phoenix).definition("yp", soon())
