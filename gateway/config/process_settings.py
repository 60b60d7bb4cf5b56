"""The settings of the process, by subject."""

from __future__ import annotations

from gateway.config.model import DEFAULT_FRONT
from gateway.config.setting import Form, Setting, Subject

CONFIG_FILE = Setting(
    name="GATEWAY_CONFIG",
    meaning="TOML file with settings, tenants, operators and the policy. Environment and `.env` only.",
    unset="no file",
)

LISTENERS = Subject(
    title="Listeners and TLS",
    settings=(
        Setting(
            name="GATEWAY_LISTEN",
            meaning="Address of the gRPC port: `host:port` or `unix:/path`. Off loopback it needs TLS and a client CA.",
            default="127.0.0.1:50051",
        ),
        Setting(
            name="GATEWAY_ADMIN_LISTEN",
            meaning="Address of metrics, health and published keys. Off loopback it needs TLS.",
            default="127.0.0.1:9464",
        ),
        Setting(
            name="GATEWAY_ADMIN_CLIENT_AUTH",
            meaning=(
                "Who must present a client certificate on an admin port with TLS and a client CA: `required` (all),"
                " `metrics` (all but `/healthz` and `/readyz`, which a kubelet probes without one) or `none`."
                " `/explain` on a TLS port needs client certificates: with `none`, or without"
                " `GATEWAY_TLS_CLIENT_CA_FILE`, it answers 403."
            ),
            default="metrics",
        ),
        Setting(
            name="GATEWAY_CONSOLE",
            meaning="The web console on the admin port, below `/console`. See [console.md](console.md).",
            default="false",
        ),
        Setting(
            name="GATEWAY_TLS_CERT_FILE",
            meaning="The gateway's certificate chain, PEM.",
            unset="plaintext, loopback only",
        ),
        Setting(
            name="GATEWAY_TLS_KEY_FILE", meaning="The private key of that certificate, PEM. Nobody else may read it."
        ),
        Setting(
            name="GATEWAY_TLS_CLIENT_CA_FILE",
            meaning="CA of the callers' certificates. When set, each caller must present one.",
            unset="callers need no certificate",
        ),
        Setting(
            name="GATEWAY_SOCKETS",
            meaning="Further Unix sockets, each for one caller of the policy, as `caller=path` separated by commas.",
            unset="none",
            example="game=/run/gateway/game.sock",
        ),
        Setting(
            name="GATEWAY_TRUSTED_PROXIES",
            meaning="SPIFFE ids or DNS names of proxies whose `x-forwarded-client-cert` header names the caller.",
            unset="the header is ignored",
        ),
        Setting(
            name="GATEWAY_DEV_TOKEN",
            meaning="Bearer token that callers of a plaintext loopback port must send. For development.",
            unset="no token",
            form=Form.SECRET,
        ),
        Setting(
            name="GATEWAY_UPSTREAM_CA_FILE",
            meaning="Additional CA for TLS to Phoenix, PEM. Read again when it changes.",
            unset="the system's CAs",
        ),
    ),
)

PROCESS = Subject(
    title="Process and logs",
    settings=(
        Setting(
            name="GATEWAY_FRONT",
            meaning="Server that carries the calls: `grpc` (grpc.aio) or `http2` (libnghttp2 on the event loop).",
            default=DEFAULT_FRONT.value,
        ),
        Setting(name="GATEWAY_WORKERS", meaning="Processes that share the gRPC port.", unit="processes", default="1"),
        Setting(
            name="GATEWAY_DRAIN_DELAY",
            meaning="How long the gateway still accepts calls after SIGTERM, while it reports that it is not ready.",
            unit="seconds",
            default="5",
        ),
        Setting(
            name="GATEWAY_DRAIN_TIMEOUT",
            meaning="When everything is closed after SIGTERM, the delay included.",
            unit="seconds",
            default="20",
        ),
        Setting(
            name="GATEWAY_DUMPABLE",
            meaning="`true`: debuggers and profilers of the same user may inspect the process. For development.",
            default="false",
        ),
        Setting(name="GATEWAY_LOG_LEVEL", meaning="`debug`, `info`, `warning` or `error`.", default="info"),
        Setting(
            name="GATEWAY_LOG_FORMAT",
            meaning="`json` or `console`.",
            unset="`console` on a terminal, else `json`",
        ),
        Setting(
            name="GATEWAY_LOG_SUCCESSES",
            meaning="Share of the successful calls that get a log line, 0 to 1. Failures always get one.",
            default="1",
        ),
        Setting(
            name="GATEWAY_AUDIT_FILE",
            meaning="Audit log: one line of JSON per use of a secret and per refusal. See [audit.md](audit.md).",
            unset="no audit log",
        ),
        Setting(
            name="GATEWAY_AUDIT_REQUIRED",
            meaning="`true`: a call whose audit record cannot be written is refused with `AUDIT_UNAVAILABLE`.",
            default="false",
        ),
        Setting(
            name="GATEWAY_BOARD_FRESH",
            meaning=(
                "How long the gateway serves an answer about a board again without asking Phoenix, 0 to 3600."
                " Boards that differ follow as `BOARD=seconds`."
            ),
            unit="s",
            default="1",
            example="1, xp-weekly=5",
        ),
        Setting(
            name="GATEWAY_TOKEN_BACKDATE",
            meaning=(
                "How far back `iat` of every token that the gateway mints is, 0 to 60, so that a verifier whose clock"
                " is behind accepts it. `exp` is not moved."
            ),
            unit="s",
            default="5",
        ),
        Setting(
            name="PHOENIX_PATHS",
            meaning="Path patterns that `PhoenixService.Call` opens where there is no policy; see below.",
            unset="none",
            example="GET /v1/wallet/*/balances",
        ),
    ),
)

TRACES = Subject(
    title="Traces",
    note=(
        "OpenTelemetry's own settings. See [traces.md](traces.md), also for those that the SDK reads from the"
        " environment by itself."
    ),
    settings=(
        Setting(
            name="OTEL_EXPORTER_OTLP_ENDPOINT",
            meaning="Base URL of the collector that takes traces over HTTP. Needs the extra `phoenix-gateway[otel]`.",
            unset="no traces",
            example="https://collector.internal:4318",
        ),
        Setting(
            name="OTEL_EXPORTER_OTLP_PROTOCOL",
            meaning="Only `http/protobuf`.",
            default="http/protobuf",
        ),
        Setting(
            name="OTEL_EXPORTER_OTLP_HEADERS",
            meaning="Headers of each export, as `name=value` separated by commas; values may be percent-encoded.",
            unset="none",
            form=Form.SECRET,
        ),
        Setting(name="OTEL_SERVICE_NAME", meaning="Name of the gateway in traces.", default="phoenix-gateway"),
        Setting(
            name="OTEL_TRACES_SAMPLER",
            meaning=(
                "Which calls are sampled: `parentbased_always_on`, `parentbased_always_off`,"
                " `parentbased_traceidratio`, `always_on`, `always_off` or `traceidratio`."
            ),
            default="parentbased_always_on",
        ),
        Setting(
            name="OTEL_TRACES_SAMPLER_ARG",
            meaning="Share of calls that a sampler with a ratio takes, 0 to 1, such as 0.01.",
            default="1",
        ),
        Setting(
            name="OTEL_BSP_MAX_QUEUE_SIZE",
            meaning="Spans that may wait for the exporter. Those beyond it are dropped and counted.",
            unit="spans",
            default="2048",
        ),
        Setting(
            name="OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
            meaning="Most spans of one export.",
            unit="spans",
            default="128",
        ),
        Setting(
            name="OTEL_BSP_SCHEDULE_DELAY",
            meaning="How often spans are exported, if they do not fill a batch before.",
            unit="ms",
            default="5000",
        ),
        Setting(name="OTEL_SDK_DISABLED", meaning="`true`: no traces.", default="false"),
    ),
)

STORES = Subject(
    title="Database and cache",
    settings=(
        Setting(
            name="DATABASE_URL",
            meaning=(
                "PostgreSQL for evidence and durable events: `postgresql://user@host/database`, with the options of"
                " libpq. See [operating.md](operating.md#postgresql)."
            ),
            unset="SQLite in `GATEWAY_DATA_DIR`, one machine only",
            form=Form.SECRET,
        ),
        Setting(
            name="GATEWAY_DATA_DIR",
            meaning="Directory of the SQLite files, kill switches and revoked platform keys.",
            default="./var",
        ),
        Setting(
            name="GATEWAY_QUEUE_EVENTS",
            meaning="How many durable events may wait for Phoenix. Above it callers get `OVERLOADED`.",
            unit="events",
            default="1000000",
        ),
        Setting(
            name="GATEWAY_QUEUE_MIB",
            meaning="How large the waiting durable events may be together. Above it callers get `OVERLOADED`.",
            unit="MiB",
            default="1024",
        ),
        Setting(
            name="GATEWAY_EVIDENCE_KEY",
            meaning=(
                "Ed25519 private key (PKCS#8 PEM) that signs the heads of the evidence chain. The same key for all"
                " gateways on one database."
            ),
            unset="SQLite: generated in `GATEWAY_DATA_DIR`; PostgreSQL: heads are not signed",
            form=Form.SECRET,
        ),
        Setting(
            name="REDIS_URL",
            meaning=(
                "Cache that replicas share; needs `DATABASE_URL`. `redis://`, `rediss://`, `redis+sentinel://` or"
                " `redis+cluster://`."
            ),
            unset="caches in the process",
            form=Form.SECRET,
        ),
        Setting(
            name="GATEWAY_CACHE_KEYS",
            meaning=(
                "Keys that encrypt and authenticate cache entries: base64 of 32 bytes each, separated by commas. The"
                " first encrypts new entries, all decrypt existing ones."
            ),
            unset="required with `REDIS_URL`",
            form=Form.SECRET,
        ),
    ),
)

SECRET_STORES = Subject(
    title="Stores of secrets",
    note=(
        "Each secret above may be given as `NAME_REF` in place of `NAME` or `NAME_FILE`: a reference into a store, such"
        " as `vault:secret/phoenix#admin_api_key`. See [secret-stores.md](secret-stores.md). AWS and Google Cloud are"
        " logged in to as their own tools do it (`AWS_*`, `GOOGLE_APPLICATION_CREDENTIALS`)."
    ),
    settings=(
        Setting(
            name="GATEWAY_SECRET_POLL",
            meaning="How often the gateway looks for new versions in the stores.",
            unit="seconds",
            default="30",
        ),
        Setting(
            name="GATEWAY_ALLOW_EXEC",
            meaning="`true`: references may run a command (`exec:`) and take what it prints.",
            default="false",
        ),
        Setting(
            name="VAULT_ADDR",
            meaning="Address of Vault or OpenBao, such as `https://vault.internal:8200`.",
            unset="required by `vault:` and `vault-db:`",
        ),
        Setting(name="VAULT_NAMESPACE", meaning="Namespace of everything there.", unset="the root namespace"),
        Setting(name="VAULT_CACERT", meaning="CA of its certificate, PEM.", unset="the system's CAs"),
        Setting(
            name="VAULT_AUTH",
            meaning="How the gateway logs in: `token`, `approle`, `kubernetes` or `jwt`.",
            default="token",
        ),
        Setting(
            name="VAULT_AUTH_MOUNT",
            meaning="Where that login is mounted, without `auth/`.",
            unset="the name of the login",
        ),
        Setting(
            name="VAULT_TOKEN",
            meaning="Token of the login `token`. The file is read at each login, so that an agent may replace it.",
            unset="required by that login",
            form=Form.SECRET,
        ),
        Setting(name="VAULT_ROLE", meaning="Role of the login `kubernetes` or `jwt`.", unset="required by those"),
        Setting(name="VAULT_ROLE_ID", meaning="Role id of the login `approle`.", unset="required by that login"),
        Setting(
            name="VAULT_SECRET_ID",
            meaning="Secret id of the login `approle`.",
            unset="required by that login",
            form=Form.SECRET,
        ),
        Setting(
            name="VAULT_JWT_FILE",
            meaning="Token of the login `kubernetes` or `jwt`; read at each login.",
            unset="the service account's, as Kubernetes mounts it",
        ),
        Setting(
            name="GCP_SECRET_MANAGER_URL",
            meaning="Address of Secret Manager, for a regional or private endpoint.",
            default="https://secretmanager.googleapis.com",
        ),
        Setting(
            name="GCP_KMS_URL",
            meaning="Address of Cloud KMS, for a regional or private endpoint.",
            default="https://cloudkms.googleapis.com",
        ),
    ),
)

SUBJECTS = (LISTENERS, PROCESS, TRACES, STORES, SECRET_STORES)
