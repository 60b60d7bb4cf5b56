"""Which certificate files are loaded, and which leave the old ones active."""

from __future__ import annotations

import asyncio
import errno
import os
import ssl
from collections.abc import Callable, Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import uvloop
from cryptography import x509
from prometheus_client import CollectorRegistry

from gateway.config.model import TlsFiles
from gateway.front.admin import AdminServer
from gateway.resilience.clock import SystemClock
from gateway.server.listener.tls import REFUSED, RELOADED, AdminTls, TlsRefused, TlsSource, read_set
from gateway.telemetry.metrics import BuildInfo, Metrics
from tests.certificates import Authority
from tests.other_user import Mount

NOW = SystemClock().now()


class Shelf:
    """The three files, and the reports about them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority()
        certificate, key = self.authority.issue("localhost").write(folder, "server")
        ca = folder / "ca.pem"
        ca.write_bytes(self.authority.certificate)
        self.files = TlsFiles(cert_file=certificate, key_file=key, client_ca_file=ca)
        self.events: list[str] = []
        self.source = TlsSource(self.files, SystemClock(), self.events.append)

    def handshake(self) -> list[str]:
        """The check before a reload, and the reports about it."""
        del self.events[:]
        self.source._fetch()
        return list(self.events)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


def half_a_certificate(shelf: Shelf) -> None:
    shelf.files.cert_file.write_bytes(shelf.authority.issue("localhost").certificate[:300])


def another_key(shelf: Shelf) -> None:
    shelf.files.key_file.write_bytes(shelf.authority.issue("localhost").key)


def a_readable_key(shelf: Shelf) -> None:
    shelf.files.key_file.chmod(0o644)


def no_key(shelf: Shelf) -> None:
    shelf.files.key_file.unlink()


def no_certificate(shelf: Shelf) -> None:
    shelf.files.cert_file.write_bytes(b"")


def no_ca(shelf: Shelf) -> None:
    assert shelf.files.client_ca_file is not None
    shelf.files.client_ca_file.write_bytes(b"no PEM")


def expired(shelf: Shelf) -> None:
    shelf.authority.issue("localhost", begins=timedelta(days=-2), ends=timedelta(days=-1)).write(shelf.folder, "server")


def too_early(shelf: Shelf) -> None:
    shelf.authority.issue("localhost", begins=timedelta(days=1), ends=timedelta(days=2)).write(shelf.folder, "server")


def a_hidden_ca(shelf: Shelf) -> None:
    assert shelf.files.client_ca_file is not None
    shelf.files.client_ca_file.write_bytes(b" " + shelf.authority.certificate + Authority().certificate)


WRONG = [
    half_a_certificate,
    another_key,
    a_readable_key,
    no_key,
    no_certificate,
    no_ca,
    a_hidden_ca,
    expired,
    too_early,
]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda change: change.__name__)
def test_files_that_cannot_be_used_are_refused_and_reported_once(shelf: Shelf, wrong: Callable[[Shelf], None]) -> None:
    """Whatever is wrong; and once they are whole, they are taken."""
    wrong(shelf)
    assert [[REFUSED], []] == [shelf.handshake(), shelf.handshake()]
    with pytest.raises(TlsRefused) as refused:
        read_set(shelf.files, NOW)
    assert "PRIVATE" not in str(refused.value)
    shelf.authority.issue("localhost").write(shelf.folder, "server")
    assert shelf.files.client_ca_file is not None
    shelf.files.client_ca_file.write_bytes(shelf.authority.certificate)
    assert [[RELOADED], []] == [shelf.handshake(), shelf.handshake()]


def test_files_that_a_platform_replaces_by_a_link_are_reloaded(tmp_path: Path) -> None:
    """The certificate of a mounted Secret: all three files change at once, by one link."""
    authority, mount, events = Authority(), Mount(tmp_path / "tls", group=0, mode=0o600), list[str]()

    def swap() -> bytes:
        pair = authority.issue("localhost")
        mount.swap(tls__crt=pair.certificate, tls__key=pair.key, ca__crt=authority.certificate)
        return pair.certificate

    swap()
    paths = [Path(mount.path(name)) for name in ("tls.crt", "tls.key", "ca.crt")]
    files = TlsFiles(cert_file=paths[0], key_file=paths[1], client_ca_file=paths[2])
    source = TlsSource(files, SystemClock(), events.append)
    expected = swap()
    source._fetch()
    assert (source._set.chain, events) == (expected, [RELOADED])


def test_files_that_change_while_openssl_reads_them_are_used_at_the_next_handshake(tmp_path: Path) -> None:
    """A mount that is broken for a moment, or a want of file descriptors, must not keep the old certificate in use."""
    old, new, mount = Authority("Old CA"), Authority("New CA"), Mount(tmp_path / "tls", group=0, mode=0o600)

    def swap(authority: Authority) -> None:
        pair = authority.issue("localhost")
        mount.swap(tls__crt=pair.certificate, tls__key=pair.key, ca__crt=authority.certificate)

    def names(context: ssl.SSLContext) -> str:
        return str(context.get_ca_certs())

    def link_to(data: str) -> None:
        (mount.folder / "next").symlink_to(data)
        (mount.folder / "next").replace(mount.folder / "..data")

    swap(old)
    paths = [Path(mount.path(name)) for name in ("tls.crt", "tls.key", "ca.crt")]
    files = TlsFiles(cert_file=paths[0], key_file=paths[1], client_ca_file=paths[2])
    broken = iter([True])
    # RELOADED comes after the files were read and verified, and before OpenSSL reads them for the context.
    source = TlsSource(files, SystemClock(), lambda event: link_to("nowhere") if next(broken, False) else None)
    assert "Old CA" in names(source.context())
    swap(new)
    read = os.readlink(mount.folder / "..data")
    assert "Old CA" in names(source.context())
    link_to(read)
    assert "New CA" in names(source.context())


def test_unchanged_files_are_not_read_again(shelf: Shelf) -> None:
    """A handshake costs a look at each."""
    assert [] == shelf.handshake()


def test_the_first_end_of_each_file_is_shown(shelf: Shelf) -> None:
    """Of the files in use: the earliest of all certificates in it."""
    assert shelf.files.client_ca_file is not None
    day = timedelta(days=1).total_seconds()
    pair = shelf.authority.issue("localhost", begins=timedelta(0), ends=timedelta(days=2))
    pair.write(shelf.folder, "server")
    later = Authority("Later CA", ends=timedelta(days=60)).certificate
    shelf.files.client_ca_file.write_bytes(later + shelf.authority.certificate)
    assert [RELOADED] == shelf.handshake()
    ends = shelf.source.ends_at()
    assert {name: round((at - NOW) / day) for name, at in ends.items()} == {"server": 2, "client_ca": 30}


def test_a_set_shows_no_key(shelf: Shelf) -> None:
    """Neither in its text nor anywhere below it."""
    assert "PRIVATE" not in repr(read_set(shelf.files, NOW))


def test_a_start_with_wrong_files_fails(shelf: Shelf) -> None:
    """With the setting that is wrong."""
    another_key(shelf)
    message = "GATEWAY_TLS_CERT_FILE: the certificate does not belong to GATEWAY_TLS_KEY_FILE"
    with pytest.raises(TlsRefused, match=message):
        TlsSource(shelf.files, SystemClock(), shelf.events.append)


class Port:
    """An admin port that is served with the shelf's files, and clients of it."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self.tls = AdminTls(shelf.files, SystemClock())
        metrics = Metrics(CollectorRegistry(), methods=[], build=BuildInfo(version="", revision="", python=""))
        self.server = AdminServer(
            "127.0.0.1:0", metrics, lambda: True, lambda: {"ready": True, "services": {}}, tls=self.tls.context
        )

    async def look(self) -> None:
        """Look at the files once."""
        await self.tls.look(self.server.use_tls)

    async def serial_met_by(self, authority: Authority) -> int | None:
        """Return the serial number of the certificate that a client of this authority meets; None: it is refused."""
        own, key = authority.issue("client").write(self.shelf.folder, "client")
        context = ssl.create_default_context(cadata=self.shelf.authority.certificate.decode())
        context.load_cert_chain(own, key)
        host, _, port = self.server.address.rpartition(":")
        try:
            reader, writer = await asyncio.open_connection(host, int(port), ssl=context, server_hostname="localhost")
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = await reader.read()
        except OSError:
            return None
        der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        return x509.load_der_x509_certificate(der).serial_number if b" 200 " in answer[:20] else None


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, None]], None]:
    """Both loops that the gateway may run on."""
    runner: Callable[[Coroutine[Any, Any, None]], None] = request.param
    return runner


def test_the_admin_port_follows_the_files(shelf: Shelf, run: Callable[[Coroutine[Any, Any, None]], None]) -> None:
    """New connections meet what can be used: not a half of it. The port and its address stay."""

    async def follow() -> None:
        port = Port(shelf)
        await port.server.start()
        first, address = await port.serial_met_by(shelf.authority), port.server.address
        another_key(shelf)
        await port.look()
        unchanged = await port.serial_met_by(shelf.authority)
        shelf.authority.issue("localhost").write(shelf.folder, "server")
        await port.look()
        second = await port.serial_met_by(shelf.authority)
        assert (first is None, second is None, first == second) == (False, False, False)
        assert (first, address) == (unchanged, port.server.address)
        await port.server.stop()

    run(follow())


def test_a_ca_that_was_removed_is_trusted_no_more(
    shelf: Shelf, run: Callable[[Coroutine[Any, Any, None]], None]
) -> None:
    """Removing a CA takes effect without a restart."""

    async def remove() -> None:
        other, ca_file = Authority("Other CA"), shelf.files.client_ca_file
        assert ca_file is not None
        ca_file.write_bytes(shelf.authority.certificate + other.certificate)
        port = Port(shelf)
        await port.server.start()
        before = [await port.serial_met_by(one) is not None for one in (shelf.authority, other)]
        ca_file.write_bytes(shelf.authority.certificate)
        await port.look()
        after = [await port.serial_met_by(one) is not None for one in (shelf.authority, other)]
        await port.server.stop()
        assert ([True, True], [True, False]) == (before, after)

    run(remove())


def test_a_reload_of_the_admin_port_that_failed_is_tried_again(
    shelf: Shelf, run: Callable[[Coroutine[Any, Any, None]], None]
) -> None:
    """The files do not change again by themselves: at the next look the new ones still have to be taken."""

    async def fail_once() -> None:
        port = Port(shelf)
        await port.server.start()
        first = await port.serial_met_by(shelf.authority)
        shelf.authority.issue("localhost").write(shelf.folder, "server")

        async def no_descriptors(_: ssl.SSLContext) -> None:
            raise OSError(errno.EMFILE, "")

        await port.tls.look(no_descriptors)
        unchanged = await port.serial_met_by(shelf.authority)
        await port.look()
        second = await port.serial_met_by(shelf.authority)
        await port.server.stop()
        assert (True, True) == (first == unchanged, second not in (None, first))

    run(fail_once())


def test_a_connection_that_is_open_outlives_a_reload(
    shelf: Shelf, run: Callable[[Coroutine[Any, Any, None]], None]
) -> None:
    """A scrape that has begun is answered."""

    async def reload() -> None:
        port = Port(shelf)
        await port.server.start()
        own, key = shelf.authority.issue("client").write(shelf.folder, "client")
        context = ssl.create_default_context(cadata=shelf.authority.certificate.decode())
        context.load_cert_chain(own, key)
        host, _, number = port.server.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(number), ssl=context, server_hostname="localhost")
        writer.write(b"GET /healthz HTTP/1.1\r\n")
        shelf.authority.issue("localhost").write(shelf.folder, "server")
        await port.look()
        writer.write(b"Host: x\r\n\r\n")
        answer = await reader.read()
        writer.close()
        await port.server.stop()
        assert b"HTTP/1.1 200 OK" == answer.split(b"\r\n")[0]

    run(reload())
