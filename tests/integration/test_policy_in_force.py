"""What a policy bounds besides methods, and what happens when it changes while the gateway runs."""

from __future__ import annotations

import base64
import queue
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from gateway.v1 import (
    common_pb2,
    events_pb2,
    events_pb2_grpc,
    keys_pb2,
    keys_pb2_grpc,
    leaderboards_pb2,
    leaderboards_pb2_grpc,
    phoenix_pb2,
    phoenix_pb2_grpc,
    tokens_pb2,
    tokens_pb2_grpc,
    wallet_pb2,
    wallet_pb2_grpc,
)
from tests.gateway_process import GatewayProcess, reason_of
from tests.integration.identity_calls import counted
from tests.integration.method_requests import outcome, request_for
from tests.policy_setup import PolicySetup, caller, identity, start_policy_setup

pytestmark = pytest.mark.timeout(240)  # gateways are started, on a machine that may be busy
SANDBOX, PROD = common_pb2.PHOENIX_ENVIRONMENT_SANDBOX, common_pb2.PHOENIX_ENVIRONMENT_PROD
_V1 = "phoenix.gateway.v1."
POLICY = "".join(
    [
        caller(
            "game",
            allow=["tokens.*", "events.write", "boards.*", "phoenix.call", "evidence.read"],
            tenants=["one"],
            operators=["acme/*", "zeta/*"],
            environments=["sandbox"],
            max_token_ttl_s=120,
            currencies=["EUR"],
            phoenix_paths=["QUERY GET /v1/leaderboards/*/mine"],
        ),
        caller("wallet", allow=["wallet.*"], operators=["acme/sandbox"]),
        caller("till", allow=["wallet.*"], operators=["zeta/sandbox"]),
    ]
)


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PolicySetup]:
    with start_policy_setup(tmp_path_factory.mktemp("force")) as made:
        yield made


@pytest.fixture(scope="module")
def gateway(setup: PolicySetup) -> Iterator[GatewayProcess]:
    with setup.gateway(POLICY) as process:
        yield process


@pytest.fixture
def game(setup: PolicySetup, gateway: GatewayProcess) -> Iterator[grpc.Channel]:
    with setup.channel(gateway, identity("game")) as channel:
        yield channel


def refused(call: Callable[[], Any]) -> str:
    """Return the reason; fails when the call is served."""
    with pytest.raises(grpc.RpcError) as error:
        call()
    return reason_of(error.value)


def launch(**members: Any) -> tokens_pb2.MintLaunchJWTRequest:
    given = {"operator_code": "acme", "environment": SANDBOX, "visitor": tokens_pb2.VisitorSession(), **members}
    return tokens_pb2.MintLaunchJWTRequest(**given)


def player(currency: str) -> dict[str, Any]:
    return {"visitor": None, "player": tokens_pb2.PlayerSession(player_id="ada", currency=currency)}


@pytest.mark.parametrize(
    "request_",
    [
        launch(environment=PROD),
        launch(operator_code="", environment=PROD),
        launch(ttl={"seconds": 121}),
        launch(**player("GBP")),
        launch(operator_code="nobodys"),
    ],
    ids=["prod", "prod alone", "too long", "other currency", "nobody's operator"],
)
def test_a_token_beyond_the_policy_is_not_minted(game: grpc.Channel, request_: Any) -> None:
    """A caller limited to sandbox gets no prod token, no longer lifetime and no other currency, also in a batch."""
    tokens = tokens_pb2_grpc.TokenServiceStub(game)
    assert "NOT_ALLOWED" == refused(lambda: tokens.MintLaunchJWT(request_, timeout=10))
    batch = tokens_pb2.BatchMintLaunchJWTRequest(requests=[launch(), request_])
    results = tokens.BatchMintLaunchJWT(batch, timeout=10).results
    assert [True, False] == [one.HasField("response") for one in results]
    assert 7 == results[1].error.code


def lifetime(answer: Any) -> float:
    return float(answer.expire_time.seconds) - time.time()


def test_a_tokens_usual_lifetime_is_shortened_to_the_policys(game: grpc.Channel) -> None:
    """Launch tokens of visitors, tenant tokens and admin tokens: 120 s without a requested lifetime."""
    tokens = tokens_pb2_grpc.TokenServiceStub(game)
    minted = [
        tokens.MintLaunchJWT(launch(), timeout=10),
        tokens.MintLaunchJWT(launch(**player("EUR")), timeout=10),
        tokens.MintTenantJWT(tokens_pb2.MintTenantJWTRequest(user_id="ada"), timeout=10),
        tokens.MintAdminJWT(tokens_pb2.MintAdminJWTRequest(subject="ada"), timeout=10),
    ]
    assert [True] * 4 == [100 < lifetime(one) <= 121 for one in minted]
    longer = Duration(seconds=121)
    for_user = tokens_pb2.MintTenantJWTRequest(user_id="ada", ttl=longer)
    assert "NOT_ALLOWED" == refused(lambda: tokens.MintTenantJWT(for_user, timeout=10))
    for_admin = tokens_pb2.MintAdminJWTRequest(subject="ada", ttl=longer)
    assert "NOT_ALLOWED" == refused(lambda: tokens.MintAdminJWT(for_admin, timeout=10))


def test_what_is_left_empty_is_the_callers_own(game: grpc.Channel) -> None:
    """Of two tenants the caller's one; of two operators in sandbox none, and the fault names the member."""
    minted = tokens_pb2_grpc.TokenServiceStub(game).MintTenantJWT(
        tokens_pb2.MintTenantJWTRequest(user_id="ada"), timeout=10
    )
    claims = base64.urlsafe_b64decode(minted.token.split(".")[1] + "==")
    assert b'"one"' in claims
    assert "INVALID_FIELD" == refused(
        lambda: tokens_pb2_grpc.TokenServiceStub(game).MintLaunchJWT(launch(operator_code=""), timeout=10)
    )


def test_each_message_of_a_stream_is_judged(game: grpc.Channel) -> None:
    """Events of another's tenant in the middle of a stream fail by themselves."""
    event = events_pb2.Event(leaderboard_id="xp", user_id="ada", score_delta=1.0)
    tenants = ("one", "two", "", "nobodys")
    messages = [
        events_pb2.StreamEventsRequest(tenant_id=tenant, events=[event], sequence=number)
        for number, tenant in enumerate(tenants, 1)
    ]
    answers = list(events_pb2_grpc.EventServiceStub(game).StreamEvents(iter(messages), timeout=20))
    found = {answer.sequence: answer.results[0].error.message for answer in answers}
    assert [1, 2, 3, 4] == sorted(found)
    assert "may not do this for that tenant" in found[2]
    assert found[2] == found[4]
    assert "may not" not in found[1] + found[3]


def test_each_item_of_a_batch_is_judged(game: grpc.Channel) -> None:
    """The batch is the caller's own, one of its items is another's."""
    one = leaderboards_pb2.GetLeaderboardRequest(leaderboard_id="xp")
    other = leaderboards_pb2.GetLeaderboardRequest(leaderboard_id="xp", tenant_id="two")
    batch = leaderboards_pb2.BatchGetLeaderboardsRequest(requests=[one, other])
    boards = leaderboards_pb2_grpc.LeaderboardServiceStub(game)
    results = boards.BatchGetLeaderboards(batch, timeout=10).results
    assert 5 == results[0].error.code  # Phoenix has no such board
    assert 7 == results[1].error.code
    batch.tenant_id = "two"
    assert "NOT_ALLOWED" == refused(lambda: boards.BatchGetLeaderboards(batch, timeout=10))


@pytest.mark.parametrize(
    ("path", "tenant", "expected"),
    [
        ("/v1/leaderboards/one/mine", "one", "PHOENIX_NOT_FOUND"),
        ("/v1/leaderboards/one/others", "one", "NOT_ALLOWED"),
        ("/v1/leaderboards/one/mine", "two", "NOT_ALLOWED"),
        ("/v1/leaderboards/one/mine/../others", "one", "INVALID_FIELD"),
    ],
)
def test_a_path_is_open_as_the_callers_patterns_say(game: grpc.Channel, path: str, tenant: str, expected: str) -> None:
    """And only for the caller's tenant, whose credentials would be used."""
    request = phoenix_pb2.CallRequest(
        surface=phoenix_pb2.PHOENIX_SURFACE_QUERY, method="GET", path=path, tenant_id=tenant
    )
    assert expected == refused(lambda: phoenix_pb2_grpc.PhoenixServiceStub(game).Call(request, timeout=10))


def test_an_outcome_is_recorded_by_callers_of_its_operator_alone(setup: PolicySetup, gateway: GatewayProcess) -> None:
    """An operation's id opens nothing to the wallet of another operator: to it there is no such operation."""
    wishes = {
        "operation": "reserve_cash",
        "route": "transactions",
        "idempotency_key": str(uuid.uuid4()),
        "operator_code": "acme",
        "environment": "sandbox",
    }
    webhook = setup.sandbox.control("POST", "/wallet/sign", wishes)
    request = wallet_pb2.VerifyWalletRequest(
        method=webhook["method"],
        path=webhook["path"],
        headers=[wallet_pb2.HttpHeader(name=name, value=value) for name, value in webhook["headers"]],
        raw_body=base64.b64decode(webhook["body_base64"]),
    )
    with setup.channel(gateway, identity("wallet")) as own, setup.channel(gateway, identity("till")) as other:
        claimed = wallet_pb2_grpc.WalletServiceStub(own).VerifyWallet(request, timeout=10)
        assert wallet_pb2.WALLET_DISPOSITION_NEW == claimed.disposition
        recorded = wallet_pb2.RecordWalletOutcomeRequest(
            operation_id=claimed.operation_id, attempt=claimed.attempt, response_status=200, response_body=b"{}"
        )
        theirs = wallet_pb2_grpc.WalletServiceStub(other)
        assert "PHOENIX_NOT_FOUND" == refused(lambda: theirs.RecordWalletOutcome(recorded, timeout=10))
        wallet_pb2_grpc.WalletServiceStub(own).RecordWalletOutcome(recorded, timeout=10)


READER = caller("reader", allow=["keys.read", "boards.watch", "events.write"], tenants=["one"])
LESS = caller("reader", allow=["keys.read"], tenants=["one"])
KEYS, WATCH = _V1 + "KeyService/ListKeys", _V1 + "LeaderboardService/WatchLeaderboard"


def comes_to(call: Callable[[], str], expected: str, within_s: float = 45.0) -> str:
    """Call until this result or the end of the time. Return the last result."""
    until = time.monotonic() + within_s
    while (came := call()) != expected and time.monotonic() < until:
        time.sleep(0.05)
    return came


def test_a_changed_policy_is_in_force_without_a_restart(setup: PolicySetup) -> None:
    """A removed right is refused, an added one is served. An invalid file only raises the alarm."""
    with setup.gateway(LESS, name="changed.toml") as gateway:
        setup.sandbox.control("POST", "/boards/one/changed", {"scores": {"ada": 1}})
        with setup.channel(gateway, identity("reader")) as channel:
            watched = request_for(WATCH)
            watched.leaderboard_id = "changed"  # type: ignore[attr-defined]

            def watch() -> str:
                return outcome(channel, WATCH, watched)

            assert "NOT_ALLOWED" == watch()
            setup.policy_file(READER, "changed.toml")
            assert "OK" == comes_to(watch, "OK")
            broken = setup.policy_file(READER + "\n[[callers]]\nname = 7\n", "changed.toml")
            assert 1.0 == comes_to_sample(gateway, "policy_refused", 1.0)
            assert "OK" == watch()
            broken.write_text("not TOML")
            assert 2.0 == comes_to_sample(gateway, 'policy_reads_total{event="refused"}', 2.0)
            assert "OK" == watch()
            setup.policy_file("", "changed.toml")
            assert 3.0 == comes_to_sample(gateway, 'policy_reads_total{event="refused"}', 3.0)
            assert "OK" == watch()
            setup.policy_file(LESS, "changed.toml")
            assert "NOT_ALLOWED" == comes_to(watch, "NOT_ALLOWED")
            assert 0.0 == comes_to_sample(gateway, "policy_refused", 0.0)
            assert "OK" == outcome(channel, KEYS, request_for(KEYS))


def comes_to_sample(gateway: GatewayProcess, sample: str, expected: float) -> float:
    until = time.monotonic() + 45
    while (found := counted(gateway, sample)) != expected and time.monotonic() < until:
        time.sleep(0.05)
    return found


def test_open_streams_end_when_their_right_is_taken_away(setup: PolicySetup) -> None:
    """A watcher gets no more updates, and a stream of events accepts no more. Both end with the refusal."""
    with setup.gateway(READER, name="taken.toml") as gateway:
        setup.sandbox.control("POST", "/boards/one/taken", {"scores": {"ada": 1}})
        event = events_pb2.Event(leaderboard_id="taken", user_id="ada", score_delta=1.0)
        to_send: queue.Queue[events_pb2.StreamEventsRequest] = queue.Queue()
        with setup.channel(gateway, identity("reader")) as channel:
            watching = leaderboards_pb2_grpc.LeaderboardServiceStub(channel).WatchLeaderboard(
                leaderboards_pb2.WatchLeaderboardRequest(leaderboard_id="taken"), timeout=150
            )
            next(watching)
            streaming = events_pb2_grpc.EventServiceStub(channel).StreamEvents(iter(to_send.get, None), timeout=150)
            to_send.put(events_pb2.StreamEventsRequest(events=[event], sequence=1))
            assert 1 == next(streaming).sequence
            setup.policy_file(LESS, "taken.toml")
            assert 1.0 == comes_to_sample(gateway, 'policy_reads_total{event="taken"}', 1.0)
            to_send.put(events_pb2.StreamEventsRequest(events=[event], sequence=2))
            assert "NOT_ALLOWED" == refused(lambda: list(streaming))
            setup.sandbox.control("POST", "/boards/one/taken", {"scores": {"ada": 100}})
            assert "NOT_ALLOWED" == refused(lambda: list(watching))


def test_a_removed_caller_is_refused_at_once(setup: PolicySetup) -> None:
    """An open connection does not keep the caller's identity."""
    other = caller("other", allow=["keys.read"], tenants=["one"])
    with (
        setup.gateway(READER + other, name="out.toml") as gateway,
        setup.channel(gateway, identity("reader")) as channel,
    ):
        keys = keys_pb2_grpc.KeyServiceStub(channel)
        assert 2 <= len(keys.ListKeys(keys_pb2.ListKeysRequest(), timeout=10).keys)
        setup.policy_file(other, "out.toml")
        assert "NOT_ALLOWED" == comes_to(lambda: outcome(channel, KEYS, request_for(KEYS)), "NOT_ALLOWED")
