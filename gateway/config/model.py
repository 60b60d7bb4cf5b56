"""The checked configuration: frozen, complete, secrets hidden. Only `load` creates it."""

from __future__ import annotations

import enum
import ipaddress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from gateway.actions.boards.read_values import ReadCacheSettings
from gateway.cache.redis_url import RedisTarget
from gateway.config.faults import Fault
from gateway.core.ed25519 import VerifyingKey
from gateway.core.launch_token import LaunchSettings
from gateway.core.raw_path import PathPattern
from gateway.core.rights import DENY_ALL, Callers
from gateway.core.sealing import SealKeys
from gateway.core.secret import Secret
from gateway.core.wallet_adapter import WalletAdapter
from gateway.keys.own.keyring import OperatorEntry, TenantEntry
from gateway.keys.platform.settings import PlatformKeySettings
from gateway.keys.sources.secret_files import FileStamp, SecretSource
from gateway.keys.stores.secret_stores import SecretStores
from gateway.outbox.queue_level import QueueBound
from gateway.phoenix.auth.modes import OperatorSignature, SocketAuth, UpstreamAuth
from gateway.phoenix.gamification.events import EventsSettings
from gateway.telemetry.trace_settings import TraceSettings


def is_loopback(host: str) -> bool:
    """Return whether `host` is only this machine. A name other than localhost is not, because it may change."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class BulkEvents(enum.Enum):
    """Whether many events leave in one request, and in which envelope."""

    OFF = "off"
    ARRAY = "array"
    EVENTS = "events"


class LogLevel(enum.Enum):
    """The lowest level that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainTimes:
    """What happens when after SIGTERM, in seconds."""

    delay_s: float = 5.0
    """Not ready, still accepting, so that balancers notice."""
    timeout_s: float = 20.0
    """Until everything is closed, the delay included."""


class FrontKind(enum.Enum):
    """Which server carries the calls."""

    GRPC = "grpc"
    HTTP2 = "http2"


DEFAULT_FRONT = FrontKind.GRPC
"""docs/adr/0025 says when it changes. Where an engine for HTTP/2 is missing, grpc serves either way."""


class AdminClientAuth(enum.Enum):
    """Who must present a client certificate on an admin port with TLS and a client CA."""

    REQUIRED = "required"
    METRICS = "metrics"
    """Everyone but the probes of liveness and readiness."""
    NONE = "none"


class LogFormat(enum.Enum):
    """How a log line is written."""

    JSON = "json"
    CONSOLE = "console"


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantConfig:
    """One gamification tenant. URLs are scheme, host and port; `socket_base_url` is WEBSOCKET_URL without its path."""

    keys: TenantEntry
    ingestion_base_url: str
    admin_base_url: str
    query_base_url: str
    socket_base_url: str
    admin_auth: UpstreamAuth
    query_auth: UpstreamAuth
    socket_auth: SocketAuth
    events: EventsSettings
    bulk_events: BulkEvents


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorConfig:
    """One prediction operator in one environment.

    `static_platform_key` replaces fetching; `platform_key_file`, if it came from there, is read again. `currencies`
    empty: the gateway asks the Operator API. `held_operations`: operations whose suspect replays are held. Without
    `keeps_response_bodies` only hashes are kept.
    """

    keys: OperatorEntry
    base_url: str
    embed_url: str
    platform_keys: PlatformKeySettings
    static_platform_key: VerifyingKey | None
    platform_key_file: Path | None
    wallet_lease_s: float
    wallet: WalletAdapter
    held_operations: frozenset[str]
    keeps_response_bodies: bool
    currencies: frozenset[str]
    launch: LaunchSettings
    signature: OperatorSignature
    stats_path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """PEM files of the gateway's own TLS; `client_ca_file` asks every caller for a certificate."""

    cert_file: Path
    key_file: Path
    client_ca_file: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen:
    """Where to listen: host and port (0: a free one), or the path of a Unix socket."""

    host: str = ""
    port: int = 0
    socket_path: Path | None = None

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it: a Unix socket or a loopback address."""
        return self.socket_path is not None or is_loopback(self.host)

    @property
    def target(self) -> str:
        """The address as gRPC writes it: host:port, [v6]:port or unix:path."""
        if self.socket_path is not None:
            return f"unix:{self.socket_path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallerSocket:
    """A Unix socket of one caller: every client that can open it is that caller."""

    caller: str
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisConfig:
    """The cache that replicas share, and the keys that seal its entries.

    `source`: where a newer URL comes from; `seal_source`: where newer keys come from.
    """

    target: RedisTarget
    source: SecretSource
    seal_keys: SealKeys
    seal_source: SecretSource


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditConfig:
    """The audit log. `required`: no secret is used unless its use is recorded there."""

    file: Path
    required: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceConfig:
    """How traces are made. `headers`: where those of the export come from."""

    settings: TraceSettings
    headers: SecretSource | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything that the gateway needs to start."""

    tenants: tuple[TenantConfig, ...]
    operators: tuple[OperatorConfig, ...]
    listen: Listen
    admin_listen: Listen
    admin_client_auth: AdminClientAuth
    has_console: bool
    tls: TlsFiles | None
    upstream_ca_file: Path | None
    front: FrontKind
    workers: int
    drain: DrainTimes
    token_backdate_s: int
    log_level: LogLevel
    log_format: LogFormat | None
    """None: console on a terminal, else JSON."""
    log_successes: float
    """The share of successful calls that get a log line."""
    reads: ReadCacheSettings
    """How old cached answers about boards may be."""
    redis: RedisConfig | None
    """None: caches live in the process."""
    database_url: Secret | None
    """PostgreSQL. None: SQLite in `data_dir`, one machine only."""
    database_source: SecretSource | None
    """Where a newer URL comes from."""
    data_dir: Path
    queue: QueueBound = field(default_factory=QueueBound)
    """How many durable events may wait for Phoenix."""
    evidence_key: SecretSource | None = None
    """Signs the heads of the evidence chain. None: generated in `data_dir` for SQLite, no signatures for PostgreSQL."""
    phoenix_paths: tuple[PathPattern, ...] = ()
    """The paths that PhoenixService opens to the caller `local`."""
    callers: Callers = field(default_factory=lambda: Callers([DENY_ALL]))
    """Who may do what. Without a policy: one caller, `local`, who may do everything."""
    config_file: Path | None = None
    """The TOML file; its policy is read again when it changes."""
    config_stamp: FileStamp | None = None
    """The state of that file when it was read."""
    config_digest: str = field(default="", repr=False)
    """Changes with the settings in that file, which are not read again."""
    env_file: Path | None = None
    """The `.env` file, if settings came from it; it is not read again."""
    sockets: tuple[CallerSocket, ...] = ()
    """Additional Unix sockets, each for one caller."""
    trusted_proxies: frozenset[str] = frozenset()
    """Identities of proxies that are trusted to name their clients."""
    dev_token: SecretSource | None = None
    """The token that callers of a plaintext loopback listener must send. None: no token."""
    audit: AuditConfig | None = None
    """None: no audit log is kept."""
    traces: TraceConfig | None = None
    """None: no traces."""
    dumpable: bool = False
    """Whether debuggers may inspect the process; for development."""
    secret_stores: SecretStores = field(default_factory=SecretStores)
    """The stores that references name, and the secrets read from them."""
    warnings: tuple[Fault, ...] = ()
    """Faults that do not stop the start. The server logs them."""

    @property
    def log_format_name(self) -> Literal["json", "console"] | None:
        """The log format by its name."""
        return None if self.log_format is None else self.log_format.value
