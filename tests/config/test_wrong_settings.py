"""Each setting of API.md with a wrong value: it is refused by name."""

from pathlib import Path

import pytest

from tests.config.valid_settings import SHARED, WHOLE, loaded, refused

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
