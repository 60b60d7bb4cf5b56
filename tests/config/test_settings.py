"""Each setting of API.md: its default, and that a wrong value is refused by name."""

import base64
import secrets
from pathlib import Path

import pytest

from gateway.config import BulkEvents, Listen, LogFormat, LogLevel
from gateway.core.launch_token import LaunchSettings
from gateway.core.types import Environment
from gateway.core.wallet_adapter import WalletAdapter
from gateway.core.wallet_amount import AmountNames
from gateway.phoenix.auth.modes import OperatorSignature, UpstreamAuth
from tests.config.valid_settings import API_KEY_ID, OPERATOR, TENANT, WHOLE, faulty, loaded, platform_pem, refused

CACHE_KEY = base64.b64encode(secrets.token_bytes(32)).decode()
SHARED = {
    **WHOLE,
    "REDIS_URL": "redis://cache.example",
    "GATEWAY_CACHE_KEYS": CACHE_KEY,
    "DATABASE_URL": "postgresql://gateway@db.example/gateway",
}

WRONG_VALUES = [
    ("TENANT_ID", "a\nb"),
    ("TENANT_ID", "x" * 257),
    ("ADMIN_API_KEY", "holds a blank"),
    ("INGESTION_BASE_URL", "http://ingestion.example"),
    ("INGESTION_BASE_URL", "ftp://ingestion.example"),
    ("INGESTION_BASE_URL", "https://"),
    ("INGESTION_BASE_URL", "https://host:99999"),
    ("INGESTION_BASE_URL", "https://[::1"),
    ("INGESTION_BASE_URL", "no url"),
    ("ADMIN_BASE_URL", "https://admin.example/v1"),
    ("ADMIN_BASE_URL", "https://user:pass@admin.example"),
    ("QUERY_BASE_URL", "https://query.example?x=1"),
    ("QUERY_BASE_URL", "http://127.0.0.1.example"),
    ("WEBSOCKET_URL", "ws://query.example/ws"),
    ("WEBSOCKET_URL", "https://query.example/ws"),
    ("ADMIN_API_KEY_ID", "not-a-uuid"),
    ("ADMIN_AUTH", "basic"),
    ("WEBSOCKET_AUTH", "basic"),
    ("QUERY_AUTH", "API_KEY"),
    ("PHOENIX_SEND_EVENT_ID", "maybe"),
    ("PHOENIX_BULK_EVENTS", "on"),
    ("PHOENIX_DEDUPLICATES_EVENTS", "yes"),
    ("PREDICTION_BASE_URL", "http://prediction.example"),
    ("PREDICTION_EMBED_URL", "http://embed.example"),
    ("PREDICTION_OPERATOR_CODE", "a\x00b"),
    ("PREDICTION_ENVIRONMENT", "production"),
    ("PREDICTION_LAUNCH_KEY", "no PEM"),
    ("GATEWAY_EVIDENCE_KEY", "no PEM"),
    ("PREDICTION_OPERATOR_ID", "a\tb"),
    ("PREDICTION_PLATFORM_KEY", "no PEM"),
    ("PREDICTION_PLATFORM_KEY_SHA256", "abcd"),
    ("PREDICTION_PLATFORM_KEY_SHA256", ","),
    ("PREDICTION_KEY_COOLDOWN", "0"),
    ("PREDICTION_KEY_COOLDOWN", "nan"),
    ("PREDICTION_KEY_OVERLAP", "-1"),
    ("PREDICTION_KEY_OVERLAP", "ten"),
    ("PREDICTION_WALLET_LEASE", "inf"),
    ("PREDICTION_UNREADABLE_STATUS", "200"),
    ("PREDICTION_UNREADABLE_STATUS", "400"),
    ("PREDICTION_UNREADABLE_STATUS", "401"),
    ("PREDICTION_UNREADABLE_STATUS", "403"),
    ("PREDICTION_HOLD_SUSPECT_REPLAYS", "credit_cash, capture_cash"),
    ("PREDICTION_HOLD_SUSPECT_REPLAYS", "everything"),
    ("PREDICTION_HOLD_SUSPECT_REPLAYS", ","),
    ("PREDICTION_KEEP_RESPONSE_BODIES", "never"),
    ("PREDICTION_WALLET_MEMBERS", "player"),
    ("PREDICTION_WALLET_MEMBERS", "gamer=player.id"),
    ("PREDICTION_WALLET_MEMBERS", "player=player..id"),
    ("PREDICTION_WALLET_MEMBERS", "player=a, player=b"),
    ("PREDICTION_WALLET_MEMBERS", "amount=a, amount_text=b"),
    ("PREDICTION_WALLET_MEMBERS", "amount_value=a.b"),
    ("PREDICTION_WALLET_SCALES", "EUR"),
    ("PREDICTION_WALLET_SCALES", "EUR=2, EUR=3"),
    ("PREDICTION_WALLET_SCALES", "EUR=19"),
    ("PREDICTION_WALLET_SCALES", "euro=2"),
    ("PREDICTION_CURRENCIES", "euro"),
    ("PREDICTION_CURRENCIES", ","),
    ("PREDICTION_LAUNCH_AUDIENCE", "a\nb"),
    ("PREDICTION_LAUNCH_TYP", "perhaps"),
    ("PREDICTION_LAUNCH_MAX_TTL", "3601"),
    ("PREDICTION_OPERATOR_SIGNATURE", "seven"),
    ("PREDICTION_STATS_PATH", "/stats"),
    ("PREDICTION_STATS_PATH", "/operator/api/../admin"),
    ("PHOENIX_PATHS", "GET /v1/../admin"),
    ("PHOENIX_PATHS", "GET /v1/a, everything"),
    ("GATEWAY_LISTEN", "50051"),
    ("GATEWAY_LISTEN", "127.0.0.1:70000"),
    ("GATEWAY_LISTEN", "0.0.0.0:50051"),
    ("GATEWAY_LISTEN", "[::]:50051"),
    ("GATEWAY_LISTEN", "gateway.example:50051"),
    ("GATEWAY_LISTEN", "unix:"),
    ("GATEWAY_ADMIN_LISTEN", "0.0.0.0:9464"),
    ("GATEWAY_ADMIN_CLIENT_AUTH", "sometimes"),
    ("GATEWAY_ADMIN_CLIENT_AUTH", "required"),
    ("GATEWAY_TLS_CERT_FILE", "/nonexistent/cert.pem"),
    ("GATEWAY_TLS_KEY_FILE", "/nonexistent/key.pem"),
    ("GATEWAY_TLS_CLIENT_CA_FILE", "/nonexistent/ca.pem"),
    ("GATEWAY_UPSTREAM_CA_FILE", "/nonexistent/ca.pem"),
    ("GATEWAY_SOCKETS", "/run/gateway/game.sock"),
    ("GATEWAY_SOCKETS", "game="),
    ("GATEWAY_SOCKETS", "local=/run/a.sock, local=/run/a.sock"),
    ("GATEWAY_SOCKETS", "unknown-caller=/run/gateway/game.sock"),
    ("GATEWAY_TRUSTED_PROXIES", "*.proxy.example"),
    ("GATEWAY_TRUSTED_PROXIES", "proxy.example"),
    ("GATEWAY_DEV_TOKEN", "fifteen-bytes--"),
    ("GATEWAY_FRONT", "nginx"),
    ("GATEWAY_WORKERS", "0"),
    ("GATEWAY_DRAIN_DELAY", "-1"),
    ("GATEWAY_DRAIN_DELAY", "soon"),
    ("GATEWAY_DRAIN_TIMEOUT", "0"),
    ("GATEWAY_DRAIN_TIMEOUT", "5"),
    ("GATEWAY_DUMPABLE", "perhaps"),
    ("GATEWAY_AUDIT_FILE", "/nonexistent/audit.jsonl"),
    ("GATEWAY_AUDIT_FILE", "/tmp"),
    ("GATEWAY_AUDIT_REQUIRED", "perhaps"),
    ("PREDICTION_KEY_LEAD", "0"),
    ("GATEWAY_BOARD_FRESH", "soon"),
    ("GATEWAY_BOARD_FRESH", "1, xp=-1"),
    ("GATEWAY_BOARD_FRESH", "=3"),
    ("GATEWAY_BOARD_FRESH", "3601"),
    ("GATEWAY_WORKERS", "two"),
    ("GATEWAY_LOG_LEVEL", "loud"),
    ("GATEWAY_LOG_FORMAT", "xml"),
    ("GATEWAY_LOG_SUCCESSES", "1%"),
    ("GATEWAY_LOG_SUCCESSES", "1.5"),
    ("GATEWAY_LOG_SUCCESSES", "nan"),
    ("REDIS_URL", "http://cache.example"),
    ("GATEWAY_CACHE_KEYS", "c2hvcnQ="),
    ("GATEWAY_CACHE_KEYS", "not base64!"),
    ("DATABASE_URL", "mysql://db.example/x"),
    ("GATEWAY_DATA_DIR", "/dev/null"),
    ("GATEWAY_QUEUE_EVENTS", "0"),
    ("GATEWAY_QUEUE_MIB", "many"),
    ("GATEWAY_TOKEN_BACKDATE", "-1"),
    ("GATEWAY_TOKEN_BACKDATE", "61"),
    ("GATEWAY_TOKEN_BACKDATE", "0.5"),
    ("GATEWAY_CONFIG", "/nonexistent/gateway.toml"),
    ("GATEWAY_SECRET_POLL", "0"),
    ("GATEWAY_ALLOW_EXEC", "perhaps"),
    ("GATEWAY_CONSOLE", "perhaps"),
    ("GCP_SECRET_MANAGER_URL", "http://secretmanager.example"),
    ("GCP_KMS_URL", "http://cloudkms.example"),
]
WRONG_FOR_VAULT = [
    ("VAULT_ADDR", "vault.example:8200"),
    ("VAULT_ADDR", "http://vault.example:8200"),
    ("VAULT_NAMESPACE", "a\nb"),
    ("VAULT_CACERT", "/nonexistent/ca.pem"),
    ("VAULT_AUTH", "password"),
    ("VAULT_AUTH_MOUNT", "a\nb"),
    ("VAULT_TOKEN", "two\n\nlines\n\n"),
    ("VAULT_ROLE", "a\nb"),
    ("VAULT_ROLE_ID", "a\nb"),
    ("VAULT_SECRET_ID", '"quoted"'),
    ("VAULT_JWT_FILE", "/nonexistent/token"),
]
"""Read only where a reference needs them: they may belong to other programs."""
WRONG_FOR_TRACES = [
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://user:pw@collector:4318"),
    ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
    ("OTEL_EXPORTER_OTLP_HEADERS", "no header, secret-4c1f"),
    ("OTEL_EXPORTER_OTLP_HEADERS", "a=b%0d%0ac: d"),
    ("OTEL_SERVICE_NAME", "a\nb"),
    ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
    ("OTEL_TRACES_SAMPLER_ARG", "1.01"),
    ("OTEL_TRACES_SAMPLER_ARG", "nan"),
    ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
    ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "0"),
    ("OTEL_BSP_SCHEDULE_DELAY", "-1"),
    ("OTEL_SDK_DISABLED", "perhaps"),
]
"""Read only where traces have an endpoint: they may belong to other programs."""


@pytest.mark.parametrize(("name", "value"), WRONG_VALUES)
def test_a_wrong_value_is_refused_by_the_settings_name(name: str, value: str) -> None:
    """The error names the setting, and the text that stood there is nowhere in it."""
    error = refused({**SHARED, name: value})
    assert name in [fault.setting for fault in error.faults]
    # The fixed text of a message may contain a short value; test_secrecy.py uses unique values.
    assert len(value) < 12 or value not in str(error)


def test_a_data_directory_that_cannot_be_made_is_refused() -> None:
    """Below something that is no directory; where PostgreSQL holds the evidence nothing is written there."""
    wish = {"GATEWAY_DATA_DIR": "/dev/null/below"}
    assert [fault.setting for fault in refused({**WHOLE, **wish}).faults] == ["GATEWAY_DATA_DIR"]
    assert loaded({**SHARED, **wish}).data_dir == Path("/dev/null/below")


@pytest.mark.parametrize(("name", "value"), WRONG_FOR_VAULT)
def test_a_wrong_setting_of_vault_matters_where_a_reference_names_it(name: str, value: str) -> None:
    """By its name there; elsewhere it is not looked at."""
    vault = {"VAULT_ADDR": "https://vault.example", "VAULT_TOKEN": "hvs.token", name: value}
    assert loaded({**SHARED, **vault}).secret_stores.all() == ()
    with_reference = {key: text for key, text in SHARED.items() if key != "ADMIN_API_KEY"}
    error = refused({**with_reference, **vault, "ADMIN_API_KEY_REF": "vault:secret/phoenix#key"})
    assert {name, "ADMIN_API_KEY_REF"} <= {fault.setting for fault in error.faults}
    assert len(value) < 12 or value not in str(error)


@pytest.mark.parametrize(("name", "value"), WRONG_FOR_TRACES)
def test_a_wrong_setting_of_traces_matters_where_there_is_an_endpoint(name: str, value: str) -> None:
    """By its name there; elsewhere it is not looked at."""
    endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT"
    assert name == endpoint or loaded({**SHARED, name: value}).traces is None
    error = refused({**SHARED, endpoint: "http://127.0.0.1:4318", name: value})
    assert [name] == [fault.setting for fault in error.faults]
    assert len(value) < 12 or value not in str(error)


def test_every_setting_is_tested_with_a_wrong_value() -> None:
    """A setting that is added needs its row above; a secret that takes any text has none."""
    from gateway.config import names

    without_wrong_value = {"INGESTION_HMAC_SECRET"}
    tested = {name for name, _ in (*WRONG_VALUES, *WRONG_FOR_VAULT, *WRONG_FOR_TRACES)}
    assert tested == {names.plain_name(name) for name in names.ENVIRONMENT_NAMES} - without_wrong_value


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
