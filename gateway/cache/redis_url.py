"""Parse `REDIS_URL` and build the client for it: one server, Sentinel or Cluster.

Forms: redis://, rediss:// (TLS), unix:///path, and for several hosts redis+sentinel://h:p,h:p/service/db and
redis+cluster://h:p,h:p, each with rediss+... for TLS. The redis package is imported only when a client is built, so
that a gateway without Redis does not pay for its memory and start time. Source: API.md, `REDIS_URL`.
"""

from __future__ import annotations

import asyncio
import enum
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

from gateway.cache.redis_tls import sharing_context
from gateway.core.secret import Secret

if TYPE_CHECKING:
    from redis.asyncio import Redis, RedisCluster

Close = Callable[[], Awaitable[None]]

_URL = re.compile(
    r"(?P<scheme>[a-z+]+)://(?:(?P<user>[^@]*)@)?(?P<hosts>[^/?#]*)(?P<path>/[^?#]*)?(?:\?(?P<query>[^#]*))?"
)
_HOST = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9_.-]+))(?::(?P<port>[0-9]{1,5}))?")
_SERVICE = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_QUERY_NAMES = frozenset({"db", "ca_file", "sentinel_username", "sentinel_password"})
_KNOWN_OPTIONS = ", ".join(sorted(_QUERY_NAMES))
_OPTION = re.compile("[A-Za-z][A-Za-z0-9_.-]{0,39}")
"""What may be named in a message."""


class RedisUrlRefused(ValueError):
    """The URL cannot be used. The message names the fault but does not repeat the URL: it may contain a password."""


class RedisKind(enum.Enum):
    """The kind of server behind the URL."""

    SINGLE = "single"
    SOCKET = "socket"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


_SCHEMES = {
    "redis": (RedisKind.SINGLE, False),
    "rediss": (RedisKind.SINGLE, True),
    "unix": (RedisKind.SOCKET, False),
    "redis+sentinel": (RedisKind.SENTINEL, False),
    "rediss+sentinel": (RedisKind.SENTINEL, True),
    "redis+cluster": (RedisKind.CLUSTER, False),
    "rediss+cluster": (RedisKind.CLUSTER, True),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """The login at a server. Both members are optional."""

    username: str | None = None
    password: Secret | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisTarget:
    """A checked `REDIS_URL`. `ca_file` adds trust for TLS; certificates are always verified."""

    kind: RedisKind
    hosts: tuple[tuple[str, int], ...] = ()
    tls: bool = False
    path: str | None = None
    service: str | None = None
    db: int = 0
    credentials: Credentials = Credentials()
    sentinel_credentials: Credentials = Credentials()
    ca_file: str | None = None

    @property
    def address(self) -> str:
        """Where the servers are, without credentials: for messages."""
        return self.path or ",".join(
            f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts
        )


def parse_redis_url(url: str) -> RedisTarget:
    """Parse the URL. Raises: RedisUrlRefused."""
    match = _URL.fullmatch(url)
    if match is None or match["scheme"] not in _SCHEMES:
        raise RedisUrlRefused(f"is not a Redis URL; begin it with one of {', '.join(_SCHEMES)} and ://")
    kind, tls = _SCHEMES[match["scheme"]]
    query = dict(parse_qsl(match["query"] or "", keep_blank_values=True))
    if unknown := sorted(query.keys() - _QUERY_NAMES):
        # With an @ in it, a part of a password could stand there.
        is_safe = "@" not in match["query"] and all(map(_OPTION.fullmatch, unknown))
        named = ", ".join(unknown) if is_safe else f"{len(unknown)} of its options"
        raise RedisUrlRefused(f"has options that cannot be used: remove {named}; known are {_KNOWN_OPTIONS}")
    path = unquote(match["path"] or "")
    service, db_text = _service_and_db(kind, path)
    db = _db(query.get("db", db_text))
    if kind is RedisKind.CLUSTER and db:
        raise RedisUrlRefused("names a database; remove it, because a cluster has only database 0")
    if kind is RedisKind.SOCKET and (match["hosts"] or len(path) < 2):
        raise RedisUrlRefused("must name the socket's absolute path: unix:///path/to/socket")
    default_port = 26379 if kind is RedisKind.SENTINEL else 6379
    hosts = () if kind is RedisKind.SOCKET else _hosts(match["hosts"], default_port)
    if kind is RedisKind.SINGLE and len(hosts) != 1:
        raise RedisUrlRefused("names several hosts; use redis+sentinel:// or redis+cluster:// for them")
    username, _, password = (match["user"] or "").partition(":")
    return RedisTarget(
        kind=kind,
        hosts=hosts,
        tls=tls,
        path=path if kind is RedisKind.SOCKET else None,
        service=service,
        db=db,
        credentials=_credentials(unquote(username), unquote(password)),
        sentinel_credentials=_credentials(query.get("sentinel_username"), query.get("sentinel_password")),
        ca_file=query.get("ca_file"),
    )


def build_client(target: RedisTarget, *, server_timeout_s: float) -> tuple[Redis | RedisCluster, Close]:
    """Return a client that is not connected yet and makes no retries of its own, and what closes it.

    Args: `server_timeout_s`: for connecting to one server, and for its answer.
    """
    from redis.asyncio import Redis, RedisCluster, SSLConnection, UnixDomainSocketConnection
    from redis.asyncio.cluster import ClusterNode
    from redis.asyncio.connection import ConnectionPool
    from redis.asyncio.retry import Retry
    from redis.asyncio.sentinel import Sentinel, SentinelManagedSSLConnection
    from redis.backoff import NoBackoff

    # RESP2 and no library name save two round trips on each new connection.
    timeouts: dict[str, Any] = {
        "socket_timeout": server_timeout_s,
        "socket_connect_timeout": server_timeout_s,
        "protocol": 2,
        "driver_info": None,
    }
    tls: dict[str, Any] = {"ssl_cert_reqs": "required", "ssl_check_hostname": True}
    retry = Retry(NoBackoff(), 0)
    login = _login(target.credentials)
    if target.kind is RedisKind.CLUSTER:
        cluster = RedisCluster(
            startup_nodes=[ClusterNode(host, port) for host, port in target.hosts],
            retry=Retry(NoBackoff(), 1),
            ssl=target.tls,
            **(tls if target.tls else {}),
            **login,
            **timeouts,
        )
        if target.tls:
            shared = sharing_context(SSLConnection, target.ca_file)
            cluster.connection_kwargs["connection_class"] = shared
            for node in cluster.nodes_manager.startup_nodes.values():
                node.connection_class = shared
        return cluster, lambda: _close_cluster(cluster)
    if target.kind is RedisKind.SENTINEL:
        managed = sharing_context(SentinelManagedSSLConnection, target.ca_file)
        sentinel: Any = Sentinel(  # type: ignore[no-untyped-call]
            target.hosts,
            sentinel_kwargs={
                **_login(target.sentinel_credentials),
                **timeouts,
                "retry": retry,
                **({"ssl": True, **tls} if target.tls else {}),
            },
            db=target.db,
            retry=retry,
            **({"ssl": True, **tls, "connection_class": managed} if target.tls else {}),
            **login,
            **timeouts,
        )
        for one in sentinel.sentinels if target.tls else ():
            one.connection_pool.connection_class = sharing_context(SSLConnection, target.ca_file)
        assert target.service is not None
        master: Redis = sentinel.master_for(target.service, redis_class=Redis)

        async def close_all() -> None:
            await asyncio.gather(master.aclose(), *(one.aclose() for one in sentinel.sentinels), return_exceptions=True)

        return master, close_all
    place: dict[str, Any]
    if target.kind is RedisKind.SOCKET:
        place = {"connection_class": UnixDomainSocketConnection, "path": target.path}
    else:
        host, port = target.hosts[0]
        shared = sharing_context(SSLConnection, target.ca_file)
        place = {"host": host, "port": port, **({"connection_class": shared, **tls} if target.tls else {})}
    client = Redis.from_pool(ConnectionPool(db=target.db, retry=retry, **place, **login, **timeouts))
    return client, client.aclose


async def _close_cluster(cluster: RedisCluster) -> None:
    """Close every connection. After some errors the library forgets nodes, and complains of them later."""
    manager = cluster.nodes_manager
    nodes = [*manager.startup_nodes.values(), *manager.nodes_cache.values()]
    await cluster.aclose()
    await asyncio.gather(*(node.disconnect() for node in nodes), return_exceptions=True)


def _login(credentials: Credentials) -> dict[str, Any]:
    login: dict[str, Any] = {} if credentials.username is None else {"username": credentials.username}
    return login if credentials.password is None else {**login, "password": credentials.password.reveal_text()}


def _credentials(username: str | None, password: str | None) -> Credentials:
    return Credentials(username=username or None, password=Secret.from_text(password) if password else None)


def _service_and_db(kind: RedisKind, path: str) -> tuple[str | None, str]:
    if kind is RedisKind.SOCKET:
        return None, ""
    parts = path.strip("/").split("/")
    if kind is not RedisKind.SENTINEL:
        return None, "/".join(parts)
    if _SERVICE.fullmatch(parts[0]) is None or len(parts) > 2:
        raise RedisUrlRefused("must name the service that Sentinel watches: redis+sentinel://host:port/service/0")
    return parts[0], "".join(parts[1:])


def _db(text: str) -> int:
    if not text:
        return 0
    if re.fullmatch(r"[0-9]{1,4}", text) is None:
        raise RedisUrlRefused("names a database that is not a number; write its number, such as /0")
    return int(text)


def _hosts(text: str, default_port: int) -> tuple[tuple[str, int], ...]:
    hosts: list[tuple[str, int]] = []
    for part in text.split(","):
        match = _HOST.fullmatch(part)
        port = int(match["port"] or default_port) if match is not None else 0
        if match is None or not 0 < port < 65536:
            raise RedisUrlRefused("names a host that is not in the form name:port")
        hosts.append((match["six"] or match["name"], port))
    return tuple(hosts)
