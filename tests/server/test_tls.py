"""Which certificate files are taken over, and which leave the old ones in place."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from gateway.config.model import TlsFiles
from gateway.resilience.clock import SystemClock
from gateway.server.listener.tls import REFUSED, RELOADED, AdminTls, TlsRefused, TlsSource, read_set
from tests.certificates import Authority

NOW = SystemClock().now()


class Shelf:
    """The three files, and what was told of them."""

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
        """What is asked before one, and what was told of it."""
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


WRONG = [half_a_certificate, another_key, a_readable_key, no_key, no_certificate, no_ca, expired, too_early]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda change: change.__name__)
def test_files_that_cannot_be_used_are_refused_and_told_of_once(shelf: Shelf, wrong: Callable[[Shelf], None]) -> None:
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


def test_unchanged_files_are_not_read_again(shelf: Shelf) -> None:
    """A handshake costs a look at each."""
    assert [] == shelf.handshake()


def test_a_set_shows_no_key(shelf: Shelf) -> None:
    """Neither in its text nor anywhere below it."""
    assert "PRIVATE" not in repr(read_set(shelf.files, NOW))


def test_a_start_with_wrong_files_fails(shelf: Shelf) -> None:
    """With the setting that is wrong."""
    another_key(shelf)
    with pytest.raises(TlsRefused, match="GATEWAY_TLS_CERT_FILE: the certificate is not that of GATEWAY_TLS_KEY_FILE"):
        TlsSource(shelf.files, SystemClock(), shelf.events.append)


def test_the_admin_port_follows_the_files(shelf: Shelf) -> None:
    """Its context is loaded anew, and only with what can be used."""
    admin = AdminTls(shelf.files, SystemClock())
    before = admin._taken
    another_key(shelf)
    admin.look()
    assert before == admin._taken
    shelf.authority.issue("localhost").write(shelf.folder, "server")
    admin.look()
    assert before != admin._taken
