"""The settings of API.md: their defaults, what is set, and which of them need each other."""

from pathlib import Path

import pytest

from gateway.config import BulkEvents, Listen, LogFormat, LogLevel
from gateway.core.launch_token import LaunchSettings
from gateway.core.types import Environment
from gateway.core.wallet_adapter import WalletAdapter
from gateway.core.wallet_amount import AmountNames
from gateway.phoenix.auth.modes import OperatorSignature, UpstreamAuth
from tests.config.valid_settings import API_KEY_ID, OPERATOR, SHARED, TENANT, WHOLE, faulty, loaded, platform_pem


def test_defaults_are_those_of_the_contract() -> None:
    """What is left out has the default that API.md states."""
    config = loaded(WHOLE)
    tenant, operator = config.tenants[0], config.operators[0]
    assert config.listen == Listen(host="127.0.0.1", port=50051)
    assert config.admin_listen == Listen(host="127.0.0.1", port=9464)
    assert (config.workers, config.log_level, config.log_format) == (1, LogLevel.INFO, None)
    assert (config.redis, config.database_url, config.data_dir, config.tls) == (None, None, Path("var"), None)
    assert (tenant.admin_auth, tenant.query_auth) == (UpstreamAuth.API_KEY, UpstreamAuth.API_KEY)
    assert (tenant.events.sends_event_id, tenant.events.deduplicates) == (True, False)
    assert tenant.bulk_events is BulkEvents.OFF
    assert operator.base_url == "https://prediction.phoenixverse.io"
    assert operator.embed_url == "https://embed.prediction.phoenixverse.io"
    assert (operator.platform_keys.cooldown_s, operator.platform_keys.overlap_s) == (2.0, 600.0)
    assert (operator.wallet_lease_s, operator.wallet.unreadable_status) == (60.0, 503)
    assert (operator.wallet, operator.held_operations) == (WalletAdapter(), frozenset())
    assert operator.keeps_response_bodies
    assert (operator.static_platform_key, operator.platform_keys.pins) == (None, frozenset())
    assert (operator.currencies, operator.launch, operator.signature) == (
        frozenset(),
        LaunchSettings(audience="pmm_default", sends_typ=True, max_ttl_s=3600),
        OperatorSignature.SIX,
    )
    assert (operator.stats_path, config.phoenix_paths) == ("/operator/api/stats", ())
    assert config.warnings == ()


@pytest.mark.parametrize(
    ("text", "fresh_s", "by_board"),
    [
        ("2.5", 2.5, {}),
        ("0", 0.0, {}),
        ("3, xp-weekly=5,hourly = 0.5", 3.0, {"xp-weekly": 5.0, "hourly": 0.5}),
        ("xp=10", 1.0, {"xp": 10.0}),
    ],
)
def test_boards_have_their_fresh_time(text: str, fresh_s: float, by_board: dict[str, float]) -> None:
    """One for all, and others for those that are named."""
    reads = loaded({**WHOLE, "GATEWAY_BOARD_FRESH": text}).reads
    assert (reads.fresh_s, reads.fresh_by_board) == (fresh_s, by_board)


def test_what_is_set_is_taken() -> None:
    """Values other than the defaults arrive."""
    config = loaded(
        {
            **SHARED,
            "ADMIN_AUTH": "jwt",
            "ADMIN_API_KEY_ID": API_KEY_ID.upper(),
            "QUERY_BASE_URL": "http://localhost:8080/",
            "PHOENIX_BULK_EVENTS": "events",
            "PHOENIX_DEDUPLICATES_EVENTS": "True",
            "PREDICTION_KEY_COOLDOWN": "0.5",
            "PREDICTION_ENVIRONMENT": "prod",
            "PREDICTION_CURRENCIES": "EUR, USD",
            "PREDICTION_LAUNCH_AUDIENCE": "none",
            "PREDICTION_LAUNCH_TYP": "false",
            "PREDICTION_LAUNCH_MAX_TTL": "600",
            "PREDICTION_OPERATOR_SIGNATURE": "five",
            "PREDICTION_STATS_PATH": "/operator/api/summary",
            "PHOENIX_PATHS": "GET /v1/wallet/*/balances, ADMIN POST /v1/coupons",
            "GATEWAY_LISTEN": "unix:/run/gateway.sock",
            "GATEWAY_ADMIN_LISTEN": "[::1]:0",
            "GATEWAY_WORKERS": "4",
            "GATEWAY_LOG_FORMAT": "console",
        }
    )
    tenant, operator = config.tenants[0], config.operators[0]
    assert (tenant.admin_auth, tenant.keys.api_key_id) == (UpstreamAuth.JWT, API_KEY_ID)
    assert (tenant.query_base_url, tenant.socket_base_url) == ("http://localhost:8080", "wss://query.example")
    assert (tenant.bulk_events, tenant.events.deduplicates) == (BulkEvents.EVENTS, True)
    assert (operator.platform_keys.cooldown_s, operator.keys.environment) == (0.5, Environment.PROD)
    assert (operator.currencies, operator.signature) == (frozenset({"EUR", "USD"}), OperatorSignature.FIVE)
    assert operator.launch == LaunchSettings(audience=None, sends_typ=False, max_ttl_s=600)
    assert operator.stats_path == "/operator/api/summary"
    assert [(one.surface, one.method, one.segments) for one in config.phoenix_paths] == [
        (None, "GET", ("v1", "wallet", "*", "balances")),
        ("ADMIN", "POST", ("v1", "coupons")),
    ]
    assert (config.listen.target, config.admin_listen.target) == ("unix:/run/gateway.sock", "[::1]:0")
    assert (config.workers, config.log_format) == (4, LogFormat.CONSOLE)
    assert config.redis is not None
    assert config.redis.target.hosts == (("cache.example", 6379),)
    assert config.database_url is not None


def test_all_faults_are_reported_at_once() -> None:
    """One start reports all faults."""
    settings = {**WHOLE, "GATEWAY_WORKERS": "none", "ADMIN_AUTH": "basic", "QUERY_BASE_URL": "http://x.example"}
    del settings["INGESTION_HMAC_SECRET"]
    assert set(faulty(settings)) == {"GATEWAY_WORKERS", "ADMIN_AUTH", "QUERY_BASE_URL", "INGESTION_HMAC_SECRET"}


@pytest.mark.parametrize("missing", [*TENANT, *OPERATOR])
def test_what_is_missing_is_named(missing: str) -> None:
    """Each of the vendor's settings is needed once its tenant or operator is there."""
    assert missing in faulty({name: value for name, value in WHOLE.items() if name != missing})


def test_nothing_at_all_is_refused() -> None:
    """An empty environment starts no gateway that serves nothing."""
    assert faulty({}) == ["TENANT_ID, ADMIN_API_KEY, INGESTION_HMAC_SECRET"]


@pytest.mark.parametrize("settings", [TENANT, OPERATOR])
def test_one_of_the_two_vendors_parts_is_enough(settings: dict[str, str]) -> None:
    """A tenant needs no operator and the other way about."""
    config = loaded(settings)
    assert len(config.tenants) + len(config.operators) == 1


def test_the_api_key_may_be_left_out_where_nothing_uses_it() -> None:
    """With HMAC and tenant tokens only, a gateway needs not hold the API key."""
    settings = {**TENANT, "ADMIN_AUTH": "hmac", "QUERY_AUTH": "jwt"}
    del settings["ADMIN_API_KEY"]
    assert loaded(settings).tenants[0].keys.api_key is None


def test_admin_tokens_need_the_key_id() -> None:
    """`ADMIN_AUTH=jwt` puts the API key's UUID into the token."""
    assert faulty({**WHOLE, "ADMIN_AUTH": "jwt"}) == ["ADMIN_API_KEY_ID"]


def test_deduplication_needs_the_event_id() -> None:
    """Sending an event again without its id would count it twice."""
    settings = {**WHOLE, "PHOENIX_DEDUPLICATES_EVENTS": "true", "PHOENIX_SEND_EVENT_ID": "false"}
    assert faulty(settings) == ["PHOENIX_DEDUPLICATES_EVENTS"]


def test_redis_needs_seals_and_a_shared_database() -> None:
    """Replicas that share a cache share the evidence too, and believe nothing unsealed."""
    assert faulty({**WHOLE, "REDIS_URL": "redis://localhost"}) == ["GATEWAY_CACHE_KEYS", "DATABASE_URL"]


def test_an_unset_variable_and_an_empty_one_are_alike() -> None:
    """Compose files pass variables on that are set to nothing."""
    assert loaded({**WHOLE, "REDIS_URL": "", "GATEWAY_WORKERS": ""}).workers == 1


def test_a_platform_key_must_be_among_the_pins() -> None:
    """A key that the pins refuse would refuse every wallet call."""
    settings = {**WHOLE, "PREDICTION_PLATFORM_KEY": platform_pem(), "PREDICTION_PLATFORM_KEY_SHA256": "ab" * 32}
    assert faulty(settings) == ["PREDICTION_PLATFORM_KEY"]


def test_a_given_platform_key_is_taken() -> None:
    """It replaces the fetch."""
    key = loaded({**WHOLE, "PREDICTION_PLATFORM_KEY": platform_pem()}).operators[0].static_platform_key
    assert key is not None


def test_a_misspelled_variable_is_warned_of_with_its_neighbour() -> None:
    """Unknown variables with the gateway's prefixes are reported, others are ignored."""
    config = loaded({**WHOLE, "GATEWAY_WROKERS": "2", "PATH": "/bin", "GATEWAI_X": "1"})
    assert [(one.setting, one.remedy) for one in config.warnings] == [
        ("GATEWAY_WROKERS", "did you mean GATEWAY_WORKERS?")
    ]


def test_what_is_set_about_wallet_bodies() -> None:
    """Each member's position, the names inside the amount, scales, held operations and stored bodies."""
    wish = {
        "PREDICTION_WALLET_MEMBERS": "player=customer.id, currency=money.currency ,amount=money,"
        "amount_minor_units=cents, original_operation=of, original_operation=original.name",
        "PREDICTION_WALLET_SCALES": "EUR=2,JPY=0",
        "PREDICTION_HOLD_SUSPECT_REPLAYS": "credit_cash, release_cash",
        "PREDICTION_KEEP_RESPONSE_BODIES": "false",
    }
    operator = loaded({**WHOLE, **wish}).operators[0]
    assert operator.wallet == WalletAdapter(
        player="customer.id",
        currency="money.currency",
        amount="money",
        amount_names=AmountNames(minor_units=("cents",)),
        original_operation=("of", "original.name"),
        currency_scales={"EUR": 2, "JPY": 0},
    )
    assert operator.held_operations == {"credit_cash", "release_cash"}
    assert not operator.keeps_response_bodies


def test_an_amount_that_is_text() -> None:
    """One name gives the position and the meaning."""
    adapter = loaded({**WHOLE, "PREDICTION_WALLET_MEMBERS": "amount_text=sum"}).operators[0].wallet
    assert (adapter.amount, adapter.amount_is_text) == ("sum", True)
