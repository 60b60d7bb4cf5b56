"""The Redis client: every URL form against a real server, short waits, a memory of being down, no mixed-up answers."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
import tempfile
import time
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from gateway.cache.client import CacheUnavailable, RedisCache, RedisCacheSettings
from gateway.cache.redis_url import RedisKind, RedisUrlRefused, parse_redis_url
from gateway.resilience.clock import SystemClock
from tests.cache.redis_use import usable_again
from tests.keys.platform.key_source import until
from tests.ports import free_port
from tests.redis_process import RedisProcess

pytestmark = pytest.mark.asyncio


@pytest.fixture
def short_directory() -> Iterator[Path]:
    """A directory with a short name, for sockets."""
    with tempfile.TemporaryDirectory(prefix="pgw-redis-") as directory:
        yield Path(directory)


@pytest_asyncio.fixture
async def cache(redis_server: RedisProcess) -> AsyncIterator[RedisCache]:
    """A cache on a running server."""
    cache = RedisCache(parse_redis_url(redis_server.url), SystemClock())
    await cache.start()
    yield cache
    await cache.close()


async def works(url: str) -> bool:
    """Whether a value can be stored and read back through this URL."""
    cache = RedisCache(parse_redis_url(url), SystemClock())
    await cache.start()
    try:
        await cache.put("{tag}:key", b"value", ttl_s=5)
        return await cache.get("{tag}:key", max_bytes=100) == b"value"
    finally:
        await cache.close()


async def test_tcp_and_unix_sockets_work(redis_server: RedisProcess) -> None:
    """redis:// and unix:// reach the server."""
    assert await works(redis_server.url)
    assert await works(f"unix://{redis_server.socket_path}?db=1")


async def test_passwords_and_names_are_sent(redis_server: RedisProcess) -> None:
    """A user and a percent-encoded password of the URL log in; a wrong one makes no cache."""
    redis_server.command("ACL", "SETUSER", "gate", "on", ">p@ss/word", "~*", "+@all")
    redis_server.command("ACL", "SETUSER", "default", "off")
    assert await works(f"redis://gate:p%40ss%2Fword@127.0.0.1:{redis_server.port}/0")
    with pytest.raises(CacheUnavailable) as caught:
        await works(f"redis://gate:wrong-one@127.0.0.1:{redis_server.port}/0")
    assert "wrong-one" not in repr(caught.value)


async def test_a_cluster_works(redis_server: RedisProcess, short_directory: Path) -> None:
    """redis+cluster:// finds the node that holds the slot."""
    node = RedisProcess(short_directory, "--cluster-enabled", "yes")
    node.start()
    try:
        node.command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        await until(lambda: b"cluster_state:ok" in node.command("CLUSTER", "INFO"))
        assert await works(f"redis+cluster://127.0.0.1:{node.port},127.0.0.1:1")
    finally:
        node.stop()


async def test_sentinel_works(redis_server: RedisProcess, short_directory: Path) -> None:
    """redis+sentinel:// asks the sentinels for the master; one sentinel that is gone does no harm."""
    port = free_port()
    config = short_directory / "sentinel.conf"
    config.write_text(f"port {port}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {redis_server.port} 1\n")
    sentinel = await asyncio.create_subprocess_exec("redis-server", str(config), "--sentinel", stdout=DEVNULL)
    try:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                assert await works(f"redis+sentinel://127.0.0.1:1,127.0.0.1:{port}/main/0")
                break
            except CacheUnavailable:
                await asyncio.sleep(0.05)
        else:
            pytest.fail("the sentinel never named the master")
    finally:
        sentinel.terminate()
        await asyncio.wait_for(sentinel.wait(), 10)


async def test_tls_is_verified(redis_server: RedisProcess, short_directory: Path) -> None:
    """rediss:// works with the CA named in the URL, and not without it."""
    _write_certificate(short_directory)
    certificate, key = short_directory / "cert.pem", short_directory / "key.pem"
    tls_port = free_port()
    server = RedisProcess(
        short_directory,
        *("--tls-port", str(tls_port), "--tls-cert-file", str(certificate), "--tls-key-file", str(key)),
        *("--tls-ca-cert-file", str(certificate), "--tls-auth-clients", "no"),
    )
    try:
        server.start()
    except RuntimeError:
        pytest.skip("this redis-server was built without TLS")
    try:
        assert await works(f"rediss://127.0.0.1:{tls_port}/0?ca_file={certificate}")
        with pytest.raises(CacheUnavailable):
            await works(f"rediss://127.0.0.1:{tls_port}/0")
    finally:
        server.stop()


class TlsServer(RedisProcess):
    """A server with a TLS port, of which the certificate is its own authority."""

    def __init__(self, directory: Path, *options: str) -> None:
        _write_certificate(directory)
        self.certificate = directory / "cert.pem"
        self.tls_port = free_port()
        super().__init__(
            directory,
            *("--tls-port", str(self.tls_port), "--tls-cert-file", str(self.certificate)),
            *("--tls-key-file", str(directory / "key.pem"), "--tls-ca-cert-file", str(self.certificate)),
            *("--tls-auth-clients", "no", *options),
        )


@pytest.mark.parametrize("kind", ["one server", "sentinel", "cluster"])
async def test_all_connections_share_one_context(
    short_directory: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Making one stops the event loop for tens of milliseconds; the library makes one for each connection."""
    server = TlsServer(
        short_directory, *(("--cluster-enabled", "yes", "--tls-cluster", "yes") if kind == "cluster" else ())
    )
    try:
        server.start()
    except RuntimeError:
        pytest.skip("this redis-server was built without TLS")
    made = 0
    original = ssl.create_default_context

    def counted(*arguments: Any, **named: Any) -> ssl.SSLContext:
        nonlocal made
        made += 1
        return original(*arguments, **named)

    sentinel = None
    where = f"rediss://127.0.0.1:{server.tls_port}/0"
    if kind == "cluster":
        server.command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        await until(lambda: b"cluster_state:ok" in server.command("CLUSTER", "INFO"))
        where = f"rediss+cluster://127.0.0.1:{server.tls_port}"
    if kind == "sentinel":
        port, config = free_port(), short_directory / "sentinel.conf"
        tls = f"tls-cert-file {server.certificate}\ntls-key-file {short_directory / 'key.pem'}\n"
        tls += f"tls-ca-cert-file {server.certificate}\ntls-auth-clients no\ntls-replication yes\n"
        watched = f"sentinel monitor main 127.0.0.1 {server.tls_port} 1\n"
        config.write_text(f"port 0\ntls-port {port}\nbind 127.0.0.1\n{tls}{watched}")
        sentinel = await asyncio.create_subprocess_exec("redis-server", str(config), "--sentinel", stdout=DEVNULL)
        where = f"rediss+sentinel://127.0.0.1:{port}/main/0"
    monkeypatch.setattr(ssl, "create_default_context", counted)
    patient = RedisCacheSettings(timeout_s=5.0, check_s=5.0, connect_timeout_s=5.0, server_timeout_s=2.0)
    cache = RedisCache(parse_redis_url(f"{where}?ca_file={server.certificate}"), SystemClock(), patient)
    try:
        await cache.start()
        await usable_again(cache, within_s=10)
        made = 0
        await asyncio.gather(*(cache.get("pgw:{t}:k", max_bytes=10) for _ in range(10)))
        await cache._renew()
        await asyncio.gather(*(cache.get("pgw:{t}:k", max_bytes=10) for _ in range(10)))
        assert made == 0
    finally:
        await cache.close()
        if sentinel is not None:
            sentinel.terminate()
            await asyncio.wait_for(sentinel.wait(), 10)
        server.stop()


async def test_a_frozen_server_costs_two_short_waits_and_then_nothing(
    redis_server: RedisProcess,
) -> None:
    """After two waits of 50 ms, callers are refused at once. The probe detects when Redis is back."""
    tried: list[list[float]] = []
    for _ in range(3):  # a busy machine may stop the test during a wait
        cache = RedisCache(parse_redis_url(redis_server.url), SystemClock())
        await cache.start()
        try:
            await usable_again(cache)
            redis_server.pause()
            tried.append([await refused_after(cache) for _ in range(2)])
            for _ in range(1000):
                call = cache.get("key", max_bytes=10)
                with pytest.raises(CacheUnavailable):
                    call.send(None)  # its first step is its last: it waits for nothing
            redis_server.resume()
            await usable_again(cache)
        finally:
            await cache.close()
        if all(0.04 <= wait_s < 0.2 for wait_s in tried[-1]):
            return
    raise AssertionError(f"seconds of the waits: {tried}")


async def refused_after(cache: RedisCache) -> float:
    """How long a call waited for its refusal."""
    began = time.monotonic()
    with pytest.raises(CacheUnavailable):
        await cache.get("key", max_bytes=10)
    return time.monotonic() - began


async def test_answers_are_never_mixed_up_after_a_timeout(redis_server: RedisProcess, cache: RedisCache) -> None:
    """A request that was cancelled during a freeze does not answer the next one."""
    for number in range(20):
        await cache.put(f"key{number}", b"value%d" % number, ttl_s=30)
    redis_server.pause()
    given_up = [asyncio.create_task(cache.get(f"key{number}", max_bytes=100)) for number in range(20)]
    await asyncio.gather(*given_up, return_exceptions=True)
    redis_server.resume()
    await usable_again(cache)
    for number in reversed(range(20)):
        assert await cache.get(f"key{number}", max_bytes=100) == b"value%d" % number


async def test_a_cancelled_caller_spoils_nothing(redis_server: RedisProcess, cache: RedisCache) -> None:
    """Cancelling in the middle of a command drops its connection; the next answer is the right one."""
    await cache.put("one", b"1", ttl_s=30)
    await cache.put("two", b"2", ttl_s=30)
    for _ in range(20):
        task = asyncio.create_task(cache.get("one", max_bytes=10))
        await asyncio.sleep(0)
        task.cancel()
        assert await cache.get("two", max_bytes=10) == b"2"


async def test_a_value_that_is_too_long_counts_as_absent(redis_server: RedisProcess, cache: RedisCache) -> None:
    """A stranger's 50 MB are not transferred."""
    redis_server.command("SETRANGE", "key", "50000000", b"x")
    assert await cache.get("key", max_bytes=1000) is None
    assert cache.fault is None


@pytest.mark.parametrize(
    ("url", "kind", "expected"),
    [
        ("redis://h", RedisKind.SINGLE, {"hosts": (("h", 6379),), "tls": False, "db": 0}),
        ("rediss://h:1/2", RedisKind.SINGLE, {"hosts": (("h", 1),), "tls": True, "db": 2}),
        ("redis://[::1]:7/", RedisKind.SINGLE, {"hosts": (("::1", 7),)}),
        ("unix:///run/r.sock?db=3", RedisKind.SOCKET, {"path": "/run/r.sock", "db": 3}),
        (
            "redis+sentinel://a,b:2/m/1",
            RedisKind.SENTINEL,
            {"hosts": (("a", 26379), ("b", 2)), "service": "m", "db": 1},
        ),
        ("rediss+cluster://a:1,b:2", RedisKind.CLUSTER, {"hosts": (("a", 1), ("b", 2)), "tls": True}),
    ],
)
async def test_urls_mean_what_they_say(url: str, kind: RedisKind, expected: dict[str, Any]) -> None:
    """Each form is read into its parts."""
    target = parse_redis_url(url)
    assert target.kind is kind
    assert {name: getattr(target, name) for name in expected} == expected


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://user:hunter2@h",
        "redis://user:hunter2@h:99999",
        "redis://user:hunter2@a,b",
        "redis://user:hunter2@h/x",
        "redis://user:hunter2@h?hunter2@h=1",
        "redis://h?hunter2-%2F=1",
        "redis+sentinel://user:hunter2@a",
        "redis+cluster://user:hunter2@a/1",
        "unix://hunter2",
        "redis://user:hunter2@h ost",
        "redis://h?ssl_cert_reqs=none",
    ],
)
async def test_a_wrong_url_is_refused_without_being_repeated(url: str) -> None:
    """The text names the fault and holds nothing of the URL."""
    with pytest.raises(RedisUrlRefused) as caught:
        parse_redis_url(url)
    assert "hunter2" not in str(caught.value)


async def test_a_target_hides_its_password() -> None:
    """No repr shows the password."""
    assert "hunter2" not in repr(parse_redis_url("redis://user:hunter2@h"))


def _write_certificate(directory: Path) -> None:
    """A self-signed certificate for 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    (directory / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (directory / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
