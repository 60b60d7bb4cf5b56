"""DATABASE_URL as providers print it, read as libpq reads it. What cannot work is refused by the option's name.

No message quotes a value: a password that is not percent-encoded can end up anywhere in a URL.
"""

from __future__ import annotations

import ipaddress
import os
import re
import ssl
from collections.abc import Mapping, Set
from pathlib import Path
from urllib.parse import unquote

SCHEMES = re.compile(r"(postgres|postgresql)(\+[a-z0-9_]+)?")
"""`+asyncpg` and the like name a driver of SQLAlchemy."""
DEFAULTS = {
    "application_name": "phoenix-gateway",
    "client_encoding": "utf8",
    "connect_timeout": "3",
    "keepalives_idle": "10",
    "keepalives_interval": "3",
    "keepalives_count": "3",
    "tcp_user_timeout": "3000",
}
"""Where the URL says nothing. A connection of which nothing comes back is given up within seconds; see libpq."""
_TLS_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
"""The stricter ones last."""
_CHOICES: Mapping[str, frozenset[str]] = {
    "sslmode": frozenset(_TLS_MODES),
    "channel_binding": frozenset({"disable", "prefer", "require"}),
    "gssencmode": frozenset({"disable", "prefer", "require"}),
    "target_session_attrs": frozenset({"any", "read-write", "primary"}),
    "load_balance_hosts": frozenset({"disable", "random"}),
    "client_encoding": frozenset({"utf8", "utf-8", "unicode", "auto"}),
    "sslnegotiation": frozenset({"postgres", "direct"}),
}
_NUMBERS = frozenset(
    {
        "connect_timeout", "keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count",
        "tcp_user_timeout", "sslcompression", "sslsni",
    }
)  # fmt: skip
_MOST = {"keepalives_idle": 32_767, "keepalives_interval": 32_767, "keepalives_count": 127}
"""What Linux accepts. A larger number breaks each connection."""
_FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl", "passfile")
_REFUSED = {
    "replication": "the gateway needs an ordinary connection",
    "service": "name the host, the database and the user here",
    "servicefile": "name the host, the database and the user here",
}
_ADVICE = {
    "pgbouncer": "the gateway works with PgBouncer in session and transaction mode without it",
    "schema": "write options=-csearch_path%3DNAME",
    "currentschema": "write options=-csearch_path%3DNAME",
    "search_path": "write options=-csearch_path%3DNAME",
    "prepared_statements": "the gateway finds a pooler by itself",
    "statement_cache_size": "the gateway finds a pooler by itself",
    "prepareThreshold".lower(): "the gateway finds a pooler by itself",
    "connection_limit": "the gateway opens four connections at most",
    "pool_timeout": "each call brings its own deadline",
    "sslaccept": "write sslmode=require or sslmode=verify-full",
    "ssl": "write sslmode=require or sslmode=verify-full",
}
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.]{0,39}")
_ENCODE = "cannot be read: percent-encode / ? # @ : in its user name and password"
_SYSTEM_CA = "system"
_NOWHERE = "/nonexistent"
"""A folder of sockets: libpq checks the options, then fails to connect without touching the network."""


class UrlRefused(ValueError):
    """The URL cannot be used. `str()` says why and names the option; it holds no value."""


def read_url(url: str) -> dict[str, str]:
    """Return the parameters for libpq, with our defaults.

    Raises: UrlRefused.
    """
    from psycopg import Error, conninfo

    scheme, _, rest = url.strip().partition("://")
    if not SCHEMES.fullmatch(scheme):
        raise UrlRefused("is not a PostgreSQL URL (postgresql://user@host/database)")
    place, question, query = rest.partition("?")
    _check_place(place)
    if "@" in query or "#" in query:
        raise UrlRefused(_ENCODE)
    options = _options(query) if question else {}
    plain = "&".join(f"{name}={value}" for name, value in options.items())
    try:
        found = conninfo.conninfo_to_dict(f"postgresql://{place}?{plain}" if plain else f"postgresql://{place}")
    except (Error, UnicodeError):
        raise UrlRefused(_ENCODE) from None
    parameters = {name: str(value) for name, value in found.items()}
    _check(parameters)
    _check_hosts(parameters)
    has_several = "," in parameters.get("host", "") + parameters.get("hostaddr", "")
    if has_several and parameters.get("target_session_attrs", "any") == "any":
        # With "any", a standby that comes first would be taken for ever.
        parameters["target_session_attrs"] = "read-write"
    _trust(parameters)
    complete = {**DEFAULTS, **parameters}
    _ask_libpq(complete, options.keys())
    return complete


def address_of(parameters: Mapping[str, str]) -> str:
    """Return hosts and port of `read_url`'s parameters, for people."""
    hosts = parameters.get("host") or parameters.get("hostaddr") or "localhost"
    return f"{hosts}:{parameters.get('port', '').strip(',') or '5432'}"


def _check_place(place: str) -> None:
    """Refuse what libpq would refuse with a message that quotes parts of a password."""
    if re.search(r"[#\s]", place) or "@" in place.partition("/")[2]:
        raise UrlRefused(_ENCODE)
    for host in place.partition("/")[0].rpartition("@")[2].split(","):
        port = re.sub(r"^\[[^]]*\]", "", host).partition(":")[2]
        if port and not re.fullmatch("[0-9]{1,5}", port):
            raise UrlRefused(_ENCODE)


def _options(query: str) -> dict[str, str]:
    """Return the options as they stand in the URL; of an option given twice the last one, as libpq does."""
    from psycopg import pq

    known = {one.keyword.decode() for one in pq.Conninfo.get_defaults()}
    has_ssl = re.search(r"(^|&)ssl=", query) is not None
    options: dict[str, str] = {}
    for part in filter(None, query.split("&")):
        name, equals, value = part.partition("=")
        name = unquote(name)
        if not _NAME.fullmatch(name) or not equals:
            raise UrlRefused("has an option that cannot be read: write ?name=value&name=value")
        if re.search(r"\s|%(?![0-9A-Fa-f]{2})|%00", value):
            raise UrlRefused(
                f"has a value of {name} that cannot be read: percent-encode blanks (%20) and % (%25) in it"
            )
        value = value.replace("=", "%3D")  # as in options=-csearch_path=ours
        if name == "ssl" and unquote(value).lower() in (*_TLS_MODES, "true", "1"):
            # JDBC and asyncpg write it so, also beside sslmode.
            name, value = "sslmode", value if unquote(value).lower() in _TLS_MODES else "require"
            value = max(value, options.get(name, value), key=_strictness)
        elif name == "sslmode" and has_ssl:
            value = max(value, options.get(name, value), key=_strictness)
        if name not in known:
            advice = _ADVICE.get(name.lower(), "PostgreSQL's client library does not know it")
            raise UrlRefused(f"has the option {name}, which cannot be used: remove it; {advice}")
        if name in _REFUSED:
            raise UrlRefused(f"has the option {name}, which cannot be used: remove it; {_REFUSED[name]}")
        options[name] = value
    return options


def _strictness(mode: str) -> int:
    mode = unquote(mode).lower()
    return _TLS_MODES.index(mode) if mode in _TLS_MODES else len(_TLS_MODES)  # what is unknown is refused later


def _check(parameters: dict[str, str]) -> None:
    """Refuse what libpq would refuse at each connection. Words get the small letters that it asks for."""
    for name, allowed in _CHOICES.items():
        value = parameters.get(name)
        if value is not None and value.lower() not in allowed:
            reason = "; the gateway writes" if name == "target_session_attrs" else ""
            raise UrlRefused(f"has a value of {name} that cannot be used: write {' or '.join(sorted(allowed))}{reason}")
        if value is not None:
            parameters[name] = value.lower()
    for port in filter(None, parameters.get("port", "").split(",")):
        if not re.fullmatch("[0-9]{1,5}", port) or not 0 < int(port) < 65_536:
            raise UrlRefused("has a port that cannot be used: write a number from 1 to 65535")
    for name in sorted(_NUMBERS & parameters.keys()):
        if not re.fullmatch("[0-9]{1,9}", parameters[name]):
            raise UrlRefused(f"has a value of {name} that is not a number")
        if int(parameters[name]) > _MOST.get(name, int(parameters[name])):
            raise UrlRefused(f"has a value of {name} that is too large: write {_MOST[name]} or less")
    for name in _FILES:
        path = parameters.get(name)
        if path and path != _SYSTEM_CA and not os.access(path, os.R_OK):
            raise UrlRefused(f"names a file in {name} that cannot be read: check its path, owner and mode")


def _check_hosts(parameters: Mapping[str, str]) -> None:
    """Refuse addresses that belong to no host, or are none."""
    addresses = parameters.get("hostaddr", "").split(",")
    hosts = parameters.get("host")
    if addresses != [""] and hosts and len(hosts.split(",")) != len(addresses):
        raise UrlRefused("has hostaddr with more or fewer addresses than there are hosts")
    for address in filter(None, addresses):
        try:
            ipaddress.ip_address(address)
        except ValueError:
            raise UrlRefused("has a value of hostaddr that is not an IP address") from None
    if parameters.get("channel_binding") == "require" and parameters.get("sslmode") == "disable":
        raise UrlRefused("has channel_binding=require, which needs TLS, and sslmode=disable: remove one of them")


def _ask_libpq(parameters: Mapping[str, str], given: Set[str]) -> None:
    """Refuse what libpq refuses before it connects. Its message can hold values, so the options are found by trying."""
    hosts = parameters.get("host") or parameters.get("hostaddr") or os.environ.get("PGHOST", "")
    place = {"host": ",".join(_NOWHERE for _ in hosts.split(","))}
    # The first four are asked for above. Over a socket, GSS would always be refused.
    others = parameters.keys() - {"host", "hostaddr", "password", "sslrootcert", "gssencmode"}
    asked = {name: parameters[name] for name in others}
    if _takes({**asked, **place}):
        return
    named = [name for name in sorted(given & others) if not _takes({**place, name: asked[name]})] or [
        name
        for name in sorted(given & others)
        if _takes({**place, **{other: value for other, value in asked.items() if other != name}})
    ]
    if named:
        raise UrlRefused(f"has a value of {' or '.join(named)} that PostgreSQL's client library refuses: correct it")
    raise UrlRefused("does not go with the number of hosts or ports in it, or with a PG… variable of the environment")


def _takes(parameters: Mapping[str, str]) -> bool:
    """Whether libpq gets as far as connecting."""
    from psycopg import conninfo, pq

    connection = pq.PGconn.connect_start(conninfo.make_conninfo(**parameters).encode())
    message = connection.error_message
    connection.finish()
    return _NOWHERE.encode() in message


def _trust(parameters: dict[str, str]) -> None:
    """Name the file of the system's CAs: libpq of the wheel does not know where this system keeps them."""
    mode, given = parameters.get("sslmode", "prefer"), parameters.get("sslrootcert")
    if given is None and mode in ("verify-ca", "verify-full"):
        default = Path("~/.postgresql/root.crt").expanduser()
        given = _SYSTEM_CA if not os.environ.get("PGSSLROOTCERT") and not default.exists() else None
    if given == _SYSTEM_CA:
        authorities = ssl.get_default_verify_paths().cafile
        if authorities is None:
            raise UrlRefused("needs the system's CA certificates, and there are none: write sslrootcert=FILE")
        if mode not in ("verify-full", "prefer"):
            raise UrlRefused("trusts all CAs of the system and does not check the host: write sslmode=verify-full")
        parameters.update(sslrootcert=authorities, sslmode="verify-full")
