"""Reads the settings of the process: listeners, TLS, workers, logs, the shared cache, the database.

Source: API.md, "Running it".
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from gateway.actions.boards.read_values import ReadCacheSettings
from gateway.cache.redis_url import RedisTarget, RedisUrlRefused, parse_redis_url
from gateway.config.auditing import read_audit
from gateway.config.identities import read_dev_token, read_sockets, read_trusted_proxies
from gateway.config.model import (
    DEFAULT_FRONT,
    AdminClientAuth,
    AuditConfig,
    CallerSocket,
    DrainTimes,
    FrontKind,
    Listen,
    LogFormat,
    LogLevel,
    RedisConfig,
    TlsFiles,
    TraceConfig,
    is_loopback,
)
from gateway.config.traces import read_traces
from gateway.config.values import Reader
from gateway.core.certificate import (
    CertificateRefused,
    KeyOfCertificateRefused,
    certificates_in,
    check_key,
)
from gateway.core.raw_path import SURFACES, PathPattern, PathRefused, parse_pattern
from gateway.core.sealing import SealKeys
from gateway.core.secret import Secret, SecretRefused
from gateway.core.tokens import TOKEN_BACKDATE_S
from gateway.keys.own.evidence_key import SETTING, check_evidence_key
from gateway.keys.own.managed_key import load_seal_keys, seal_keys_of
from gateway.keys.sources.file_access import whoami
from gateway.keys.sources.secret_files import SecretSource, read_secret_file
from gateway.outbox.queue_level import QueueBound
from gateway.phoenix.trust import upstream_trust
from gateway.resilience.clock import SystemClock
from gateway.store.postgres_url import UrlRefused, read_url

DEFAULT_LISTEN = Listen(host="127.0.0.1", port=50051)
DEFAULT_ADMIN_LISTEN = Listen(host="127.0.0.1", port=9464)
_ADDRESS = re.compile(r"(?P<host>[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\]):(?P<port>[0-9]{1,5})")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessConfig:
    """The process's part of the configuration."""

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
    audit: AuditConfig | None
    traces: TraceConfig | None
    dumpable: bool
    log_level: LogLevel
    log_format: LogFormat | None
    log_successes: float
    reads: ReadCacheSettings
    redis: RedisConfig | None
    database_url: Secret | None
    database_source: SecretSource | None
    data_dir: Path
    queue: QueueBound
    evidence_key: SecretSource | None
    phoenix_paths: tuple[PathPattern, ...]
    sockets: tuple[CallerSocket, ...]
    trusted_proxies: frozenset[str]
    dev_token: SecretSource | None


def read_process(reader: Reader) -> ProcessConfig:
    """Return the settings of the process. The reader collects the faults."""
    tls = _tls(reader)
    has_format = reader.scope.get("GATEWAY_LOG_FORMAT") is not None
    database_url = _database(reader)
    workers = reader.whole("GATEWAY_WORKERS", 1, least=1, most=256)
    listen = _listen(reader, "GATEWAY_LISTEN", DEFAULT_LISTEN, tls, callers_matter=True)
    return ProcessConfig(
        listen=listen,
        admin_listen=_listen(reader, "GATEWAY_ADMIN_LISTEN", DEFAULT_ADMIN_LISTEN, tls, callers_matter=False),
        admin_client_auth=_admin_client_auth(reader, tls),
        has_console=reader.flag("GATEWAY_CONSOLE", False),
        tls=tls,
        upstream_ca_file=_upstream_ca(reader),
        front=reader.choice("GATEWAY_FRONT", DEFAULT_FRONT, FrontKind),
        workers=workers,
        drain=_drain(reader),
        token_backdate_s=reader.whole("GATEWAY_TOKEN_BACKDATE", TOKEN_BACKDATE_S, least=0, most=60),
        audit=read_audit(reader),
        traces=read_traces(reader),
        dumpable=reader.flag("GATEWAY_DUMPABLE", False),
        log_level=reader.choice("GATEWAY_LOG_LEVEL", LogLevel.INFO, LogLevel),
        log_format=reader.choice("GATEWAY_LOG_FORMAT", LogFormat.JSON, LogFormat) if has_format else None,
        log_successes=reader.share("GATEWAY_LOG_SUCCESSES", 1.0),
        reads=_reads(reader),
        redis=_redis(reader),
        database_url=database_url,
        database_source=reader.secret_source("DATABASE_URL"),
        data_dir=_data_dir(reader),
        queue=QueueBound(
            max_events=reader.whole("GATEWAY_QUEUE_EVENTS", QueueBound().max_events, least=1, most=100_000_000),
            max_bytes=reader.whole("GATEWAY_QUEUE_MIB", QueueBound().max_bytes >> 20, least=1, most=1_000_000) << 20,
        ),
        evidence_key=_evidence_key(reader),
        phoenix_paths=_phoenix_paths(reader),
        sockets=read_sockets(reader, workers),
        trusted_proxies=read_trusted_proxies(reader, tls),
        dev_token=read_dev_token(reader, listen, tls),
    )


def _drain(reader: Reader) -> DrainTimes:
    defaults = DrainTimes()
    times = DrainTimes(
        delay_s=reader.seconds("GATEWAY_DRAIN_DELAY", defaults.delay_s, may_be_zero=True),
        timeout_s=reader.seconds("GATEWAY_DRAIN_TIMEOUT", defaults.timeout_s),
    )
    if times.timeout_s <= times.delay_s:
        reader.fault("GATEWAY_DRAIN_TIMEOUT", "leaves no time for calls in flight", "set it above GATEWAY_DRAIN_DELAY")
    return times


def _tls(reader: Reader) -> TlsFiles | None:
    cert = reader.file("GATEWAY_TLS_CERT_FILE")
    key = reader.file("GATEWAY_TLS_KEY_FILE")
    client_ca = reader.file("GATEWAY_TLS_CLIENT_CA_FILE")
    if cert is None and (key is not None or client_ca is not None):
        reader.fault("GATEWAY_TLS_CERT_FILE", "is missing while other TLS files are set", "set it, or none of them")
    if key is None and (cert is not None or client_ca is not None):
        reader.fault("GATEWAY_TLS_KEY_FILE", "is missing while other TLS files are set", "set it, or none of them")
    if key is not None:
        try:
            read_secret_file(key)
            if cert is not None:
                check_key(cert.read_bytes(), key.read_bytes())  # as TLS reads it
        except (SecretRefused, KeyOfCertificateRefused) as refusal:
            reader.fault("GATEWAY_TLS_KEY_FILE", str(refusal))
        except CertificateRefused as refusal:
            reader.fault("GATEWAY_TLS_CERT_FILE", str(refusal))
    if client_ca is not None:
        try:
            certificates_in(client_ca.read_bytes())
        except CertificateRefused as refusal:
            reader.fault("GATEWAY_TLS_CLIENT_CA_FILE", str(refusal))
    return (
        TlsFiles(cert_file=cert, key_file=key, client_ca_file=client_ca)
        if cert is not None and key is not None
        else None
    )


def _upstream_ca(reader: Reader) -> Path | None:
    name = "GATEWAY_UPSTREAM_CA_FILE"
    path = reader.file(name)
    try:
        if path is not None:
            upstream_trust(path)
    except OSError as error:
        reader.fault(name, error.strerror or "cannot be read", "put the CA's certificate into it, PEM")
    return path


def _admin_client_auth(reader: Reader, tls: TlsFiles | None) -> AdminClientAuth:
    name = "GATEWAY_ADMIN_CLIENT_AUTH"
    chosen = reader.choice(name, AdminClientAuth.METRICS, AdminClientAuth)
    if chosen is AdminClientAuth.REQUIRED and (tls is None or tls.client_ca_file is None):
        reader.fault(name, "asks for certificates that nothing can check", "set GATEWAY_TLS_CLIENT_CA_FILE")
    return chosen


def read_admin_address(reader: Reader) -> tuple[Listen, bool]:
    """Return the admin address, and whether it uses TLS where others can reach it. Reads no secret."""
    has_tls = reader.scope.get("GATEWAY_TLS_CERT_FILE") is not None
    return _listen(reader, "GATEWAY_ADMIN_LISTEN", DEFAULT_ADMIN_LISTEN, None, callers_matter=False), has_tls


def _listen(reader: Reader, name: str, default: Listen, tls: TlsFiles | None, *, callers_matter: bool) -> Listen:
    """Return the address. Public ones need TLS and, where it matters who calls, client certificates."""
    found = reader.scope.get(name)
    if found is None:
        return default
    text = found.text.strip()
    if text.startswith("unix:"):
        path = text.removeprefix("unix:").removeprefix("//")
        if not path or "\0" in path or len(path.encode()) > 100:
            reader.fault(name, "is not a usable path of a Unix socket", "write unix:/path of at most 100 bytes")
        return Listen(socket_path=Path(path))
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match["port"]) > 65535:
        reader.fault(name, "is neither host:port nor unix:/path", f"the default is {default.target}")
        return default
    host = match["host"].strip("[]")
    if not is_loopback(host):
        if tls is None:
            reader.fault(name, "is plaintext on an address that others reach", "set the GATEWAY_TLS_ files")
        elif tls.client_ca_file is None and callers_matter:
            reader.fault(name, "is open to callers without a certificate", "set GATEWAY_TLS_CLIENT_CA_FILE")
    return Listen(host=host, port=int(match["port"]))


def _reads(reader: Reader) -> ReadCacheSettings:
    """Return how long boards stay fresh: seconds for all, and `BOARD=seconds` for those that differ."""
    defaults = ReadCacheSettings()
    found = reader.scope.get("GATEWAY_BOARD_FRESH")
    fresh_s, by_board = defaults.fresh_s, dict[str, float]()
    for part in [] if found is None else found.text.split(","):
        board, equals, text = part.strip().rpartition("=")
        # The pattern excludes nan, inf and signs, which float accepts.
        value = float(text) if re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,6})?", text.strip()) else -1.0
        if not 0 <= value <= 3600 or bool(equals) != bool(board):
            problem = "is not a list of seconds from 0 to 3600, each alone or as BOARD=seconds"
            reader.fault("GATEWAY_BOARD_FRESH", problem, "write for example: 1, xp-weekly=5")
            return defaults
        if board:
            by_board[board.strip()] = value
        else:
            fresh_s = value
    return ReadCacheSettings(fresh_s=fresh_s, fresh_by_board=by_board)


def _redis(reader: Reader) -> RedisConfig | None:
    if not reader.given("REDIS_URL"):
        if reader.given("GATEWAY_CACHE_KEYS"):
            reader.faults.warn("GATEWAY_CACHE_KEYS", "is set without REDIS_URL and not used")
        return None
    if not reader.given("GATEWAY_CACHE_KEYS"):
        remedy = "make one with: openssl rand -base64 32"
        reader.fault(
            "GATEWAY_CACHE_KEYS", "is missing while REDIS_URL is set: entries of the cache must be encrypted", remedy
        )
    if not reader.given("DATABASE_URL"):
        problem = "is missing while REDIS_URL is set: several replicas would each keep wallet evidence of their own"
        reader.fault("DATABASE_URL", problem, "set it to a PostgreSQL that they share, or remove REDIS_URL")
    target, source = _redis_target(reader), reader.secret_source("REDIS_URL")
    seal_source = reader.secret_source("GATEWAY_CACHE_KEYS")
    seal_keys = None if seal_source is None else _seal_keys(reader, seal_source)
    if target is None or source is None or seal_source is None or seal_keys is None:
        return None
    return RedisConfig(target=target, source=source, seal_keys=seal_keys, seal_source=seal_source)


def _redis_target(reader: Reader) -> RedisTarget | None:
    url = reader.secret("REDIS_URL")
    try:
        return None if url is None else redis_target(url)
    except SecretRefused as refusal:
        reader.fault("REDIS_URL", str(refusal))
        return None


def redis_target(url: Secret) -> RedisTarget:
    """Return what the URL names. Raises: SecretRefused."""
    try:
        return parse_redis_url(url.reveal_text().strip())
    except RedisUrlRefused as refusal:
        raise SecretRefused(str(refusal)) from None


def _seal_keys(reader: Reader, source: SecretSource) -> SealKeys | None:
    now = SystemClock().now()
    try:
        return seal_keys_of(load_seal_keys(source, now), now)
    except SecretRefused as refusal:
        reader.faults.add(source.setting, str(refusal))
        return None


def _database(reader: Reader) -> Secret | None:
    url = reader.secret("DATABASE_URL")
    try:
        return None if url is None else check_database_url(url)
    except SecretRefused as refusal:
        reader.fault("DATABASE_URL", str(refusal))
        return url


def check_database_url(url: Secret) -> Secret:
    """Return the URL if PostgreSQL can be reached by it. Raises: SecretRefused, by the name of what cannot be used."""
    try:
        read_url(url.reveal_text())
    except UrlRefused as refused:
        raise SecretRefused(f"{refused}; leave it out for SQLite in GATEWAY_DATA_DIR") from None
    return url


def _phoenix_paths(reader: Reader) -> tuple[PathPattern, ...]:
    """Return the paths that PhoenixService opens. An invalid pattern is a fault and stops the start."""
    patterns = []
    for text in (reader.optional_text("PHOENIX_PATHS", max_chars=16384) or "").split(","):
        if text.strip():
            try:
                patterns.append(parse_pattern(text, SURFACES))
            except PathRefused as refused:
                reader.fault("PHOENIX_PATHS", f"pattern {len(patterns) + 1} {refused}", "such as GET /v1/wallet/*")
                return ()
    return tuple(patterns)


def _evidence_key(reader: Reader) -> SecretSource | None:
    """Return the source of the key of the evidence chain, after proving the pair."""
    source = reader.secret_source(SETTING)
    if source is not None and (refusal := check_evidence_key(source, SystemClock().now())) is not None:
        reader.faults.add(source.setting, refusal)
    if source is None and reader.given("DATABASE_URL"):
        problem = "is not set, so with PostgreSQL the heads of the evidence chain are not signed"
        remedy = "make one for all gateways with: phoenix-gateway keys generate --out FILE"
        reader.faults.warn(SETTING, problem, remedy)
    return source


def _data_dir(reader: Reader) -> Path:
    found = reader.scope.get("GATEWAY_DATA_DIR")
    if found is None:
        return Path("var")
    text = found.text.strip()
    path = found.folder / Path(text.replace("\0", "?"))
    if not text or "\0" in text or (os.path.exists(path) and not os.path.isdir(path)):
        reader.fault(
            "GATEWAY_DATA_DIR", "is not a directory", "name a directory; the gateway creates it if it is missing"
        )
        return path
    if reader.given("DATABASE_URL"):
        return path  # nothing is written there
    there = next((one for one in (path, *path.absolute().parents) if os.path.exists(one)), path)
    if not os.path.isdir(there) or not os.access(there, os.W_OK | os.X_OK):
        problem = "cannot be created or written by the user that runs the gateway"
        remedy = f"name another directory, or let that user write to it; {whoami()}"
        reader.fault("GATEWAY_DATA_DIR", problem, remedy)
    return path
