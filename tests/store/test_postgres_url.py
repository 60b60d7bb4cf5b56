"""DATABASE_URL as providers print it: understood, or refused by the option's name, never by a value."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.store.postgres_url import UrlRefused, read_url

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("options", "understood"),
    [
        ("sslmode=require&channel_binding=require", {"sslmode": "require", "channel_binding": "require"}),
        ("sslmode=disable", {"sslmode": "disable"}),
        ("sslmode=verify-full&sslrootcert=system", {"sslmode": "verify-full"}),
        ("ssl=true", {"sslmode": "require"}),
        ("ssl=verify-full", {"sslmode": "verify-full"}),
        ("sslmode=Require&channel_binding=PREFER", {"sslmode": "require", "channel_binding": "prefer"}),
        ("ssl=Require", {"sslmode": "require"}),
        ("sslmode=verify-full&ssl=true", {"sslmode": "verify-full"}),
        ("ssl=true&sslmode=verify-full", {"sslmode": "verify-full"}),
        ("ssl=verify-full&sslmode=require", {"sslmode": "verify-full"}),
        ("options=-csearch_path=ours", {"options": "-csearch_path=ours"}),
        ("sslmode=%72equire", {"sslmode": "require"}),
        ("sslnegotiation=direct&sslmode=require", {"sslnegotiation": "direct"}),
        ("connect_timeout=10", {"connect_timeout": "10"}),
        ("options=-c%20search_path%3Dours", {"options": "-c search_path=ours"}),
        ("options=endpoint%3Dep-1", {"options": "endpoint=ep-1"}),
        ("target_session_attrs=primary", {"target_session_attrs": "primary"}),
        ("application_name=ours", {"application_name": "ours"}),
        ("keepalives_idle=60&tcp_user_timeout=0", {"keepalives_idle": "60", "tcp_user_timeout": "0"}),
        ("", {"application_name": "phoenix-gateway", "connect_timeout": "3", "tcp_user_timeout": "3000"}),
    ],
)
def test_options_that_providers_print(options: str, understood: dict[str, str]) -> None:
    """They reach libpq; where the URL says nothing, our defaults do."""
    read = read_url(f"postgres://u:p%40ss@h:6432/db?{options}")
    assert {"user": "u", "password": "p@ss", "host": "h", "port": "6432", "dbname": "db"}.items() <= read.items()
    assert understood.items() <= read.items()


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+asyncpg", "postgresql+psycopg", "postgres+x"])
def test_schemes(scheme: str) -> None:
    """Those of libpq, and those in which SQLAlchemy names a driver."""
    assert "h" == read_url(f"{scheme}://u@h/db")["host"]


@pytest.mark.parametrize("options", ["", "?target_session_attrs=any", "?target_session_attrs=ANY"])
def test_several_hosts_lead_to_the_primary(options: str) -> None:
    """A connection is taken only where it can write, whatever the URL says: a standby that comes first would stay."""
    read = read_url(f"postgresql://u@a:1,b:2/db{options}")
    assert ("a,b", "1,2", "read-write") == (read["host"], read["port"], read["target_session_attrs"])


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u@h:99999/db",
        "postgresql://u@h:0/db",
        "postgresql://u@a:1,b:70000/db",
        "postgresql://u@h/db?port=99999",
        "postgresql://u@h/db?port=x",
    ],
)
def test_ports_that_do_not_exist_are_refused(url: str) -> None:
    """Before libpq refuses them at each connection."""
    with pytest.raises(UrlRefused, match="port"):
        read_url(url)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ("pgbouncer=true", "pgbouncer"),
        ("schema=public", "schema"),
        ("connection_limit=5", "connection_limit"),
        ("sslmode=no-verify", "sslmode"),
        ("ssl=sometimes", "ssl"),
        ("channel_binding=always", "channel_binding"),
        ("connect_timeout=soon", "connect_timeout"),
        ("target_session_attrs=standby", "target_session_attrs"),
        ("target_session_attrs=prefer-standby", "target_session_attrs"),
        ("client_encoding=LATIN1", "client_encoding"),
        ("sslrootcert=/nonexistent/ca.pem", "sslrootcert"),
        ("replication=database", "replication"),
        ("service=ours", "service"),
        ("uselibpqcompat=true", "uselibpqcompat"),
        ("SSLMODE=require", "SSLMODE"),
        ("port=1,2,3", "port"),
        ("hostaddr=10.0.0.1,10.0.0.2", "hostaddr"),
        ("hostaddr=nowhere", "hostaddr"),
        ("require_auth=foo", "require_auth"),
        ("sslcertmode=foo", "sslcertmode"),
        ("ssl_min_protocol_version=TLSv9", "ssl_min_protocol_version"),
        ("ssl_min_protocol_version=TLSv1.3&ssl_max_protocol_version=TLSv1.2", "ssl_max_protocol_version"),
        ("sslnegotiation=direct", "sslnegotiation"),
        ("sslmode=disable&channel_binding=require", "channel_binding"),
        ("keepalives_idle=99999", "keepalives_idle"),
        ("options=50%", "options"),
        ("options=-c search_path", "options"),
        ("application_name=a%00b", "application_name"),
    ],
)
def test_what_cannot_work_is_named(options: str, name: str) -> None:
    """The refusal names the option, and no value of the URL; libpq would refuse it at each connection."""
    with pytest.raises(UrlRefused, match=rf"\b{name}\b") as refused:
        read_url(f"postgresql://u:{SECRET}@h/db?{options}")
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://u:{SECRET}/x@h/db",
        f"postgresql://u:{SECRET}#x@h/db",
        f"postgresql://u:12?{SECRET}=x@h/db",
        f"postgresql://u:12/{SECRET}@h/db",
        f"postgresql://u@h:{SECRET}/db",
        f"postgresql://u:{SECRET} x@h/db",
        f"mysql://u:{SECRET}@h/db",
        SECRET,
        "",
    ],
)
def test_a_url_that_cannot_be_read_is_not_quoted(url: str) -> None:
    """A password that is not percent-encoded ends up anywhere in a URL."""
    with pytest.raises(UrlRefused) as refused:
        read_url(url)
    assert SECRET not in str(refused.value)


def test_files_are_looked_for(tmp_path: Path) -> None:
    """A CA file that can be read is passed on."""
    file = tmp_path / "ca.pem"
    file.write_text("")
    assert str(file) == read_url(f"postgresql://u@h/db?sslmode=verify-ca&sslrootcert={file}")["sslrootcert"]
