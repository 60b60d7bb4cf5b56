"""REDIS_URL: the forms that providers print, understood or refused by name, never by a value."""

from __future__ import annotations

import pytest

from gateway.cache.redis_url import RedisKind, RedisUrlRefused, parse_redis_url

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("url", "kind", "hosts", "is_tls"),
    [
        ("redis://h", RedisKind.SINGLE, (("h", 6379),), False),
        ("rediss://default:p%40ss@h:6380/0", RedisKind.SINGLE, (("h", 6380),), True),
        ("redis://[::1]:6379/1", RedisKind.SINGLE, (("::1", 6379),), False),
        ("redis+sentinel://a:1,b/service/0", RedisKind.SENTINEL, (("a", 1), ("b", 26379)), False),
        ("rediss+cluster://a,b:2", RedisKind.CLUSTER, (("a", 6379), ("b", 2)), True),
        ("unix:///run/redis.sock?db=2", RedisKind.SOCKET, (), False),
    ],
)
def test_the_forms(url: str, kind: RedisKind, hosts: tuple[tuple[str, int], ...], is_tls: bool) -> None:
    """Of one server, a socket, Sentinel and Cluster, with and without TLS."""
    target = parse_redis_url(url)
    assert (target.kind, target.hosts, target.tls) == (kind, hosts, is_tls)


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("rediss://h?ssl_cert_reqs=none", "ssl_cert_reqs"),
        ("redis://h?timeout=5&family=0", "family, timeout"),
        ("redis://h/x", "database"),
        ("redis://a,b", "several hosts"),
        ("redis+cluster://h/1", "database"),
        ("redis+sentinel://h", "service"),
        ("redis://h:0", "host"),
        ("redis://h:70000", "host"),
        ("http://h", "begin it with one of redis"),
    ],
)
def test_what_cannot_be_used_is_named(url: str, named: str) -> None:
    """At the start, and not at each connection."""
    with pytest.raises(RedisUrlRefused, match=named):
        parse_redis_url(url)


@pytest.mark.parametrize(
    "url",
    [
        f"redis://:p@x?{SECRET}=1@h",
        f"redis://:{SECRET}@x/y@h",
        f"redis://:p@x,{SECRET}@h",
        f"redis://h?db={SECRET}",
        f"{SECRET}://h",
    ],
)
def test_no_message_has_a_part_of_a_password(url: str) -> None:
    """A password that is not percent-encoded ends up anywhere in a URL."""
    with pytest.raises(RedisUrlRefused) as refused:
        parse_redis_url(url)
    assert SECRET not in str(refused.value)
