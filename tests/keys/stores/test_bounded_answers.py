"""An answer of a store that does not end, fast or slow: it is given up, and what was read of it is forgotten."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from gateway.core.secret import Secret
from gateway.core.secret_reference import Scheme, parse_reference
from gateway.keys.sources.secret_files import SecretSource
from gateway.keys.sources.store_failure import StoreCause, StoreFailed
from gateway.keys.stores import bounded_answers
from gateway.keys.stores.gcp_secrets import GcpSecrets
from gateway.keys.stores.vault_client import VaultClient, VaultLogin, VaultSettings
from gateway.keys.stores.vault_secrets import VaultDatabaseLogins, VaultSecrets
from tests.keys.stores.gcp_emulator import GcpEmulator

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{"
BUFFERED = 32 * 1024 * 1024
"""More than a client reads and the system buffers."""


class Endless:
    """A server that answers without an end. `sent`: the bytes of its longest answer; `left`: a client closed one."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        self.sent = 0
        self.left = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                taken, _ = self._server.accept()
                threading.Thread(target=self._answer, args=(taken,), daemon=True).start()

    def _answer(self, taken: socket.socket) -> None:
        sent = 0
        with taken, contextlib.suppress(OSError):
            taken.recv(65536)
            taken.sendall(HEAD)
            while sent < 8 * BUFFERED:
                taken.sendall(b" " * 65536)
                sent += 65536
                self.sent = max(self.sent, sent)
        self.left.set()

    def close(self) -> None:
        self._server.close()


@pytest.fixture
def endless() -> Iterator[Endless]:
    made = Endless()
    yield made
    made.close()


def check(endless: Endless, failure: StoreFailed) -> None:
    assert failure.cause is StoreCause.UNUSABLE_ANSWER
    assert "without an end" in str(failure)
    assert endless.left.wait(20)
    assert 0 < endless.sent < BUFFERED


def client_of(address: str) -> VaultClient:
    token = SecretSource(setting="VAULT_TOKEN", value=Secret.from_text("token"))
    return VaultClient(VaultSettings(address=address, login=VaultLogin.TOKEN, token=token))


def test_an_answer_in_place_of_vaults_is_given_up(endless: Endless) -> None:
    """As of a log server at the address."""
    with pytest.raises(StoreFailed) as failed:
        VaultSecrets(client_of(endless.url)).read(parse_reference("vault:secret/app#key"), with_earlier=False)
    check(endless, failed.value)


def test_an_answer_in_place_of_googles_is_given_up(
    endless: Endless, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token comes from elsewhere."""
    emulator = GcpEmulator()
    try:
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(emulator.credentials(tmp_path)))
        with pytest.raises(StoreFailed) as failed:
            GcpSecrets(endless.url).read(parse_reference("gcp-sm:projects/x/secrets/y"), with_earlier=False)
        check(endless, failed.value)
    finally:
        emulator.close()


def test_an_answer_in_place_of_googles_token_is_given_up(
    endless: Endless, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The login has a session of its own."""
    emulator = GcpEmulator()
    try:
        credentials = emulator.credentials(tmp_path)
        credentials.write_text(credentials.read_text().replace(f"{emulator.url}/token", f"{endless.url}/token"))
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(credentials))
        with pytest.raises(StoreFailed) as failed:
            GcpSecrets(emulator.url).read(parse_reference("gcp-sm:projects/x/secrets/y"), with_earlier=False)
        check(endless, failed.value)
    finally:
        emulator.close()


ROLE_A, ROLE_B = (parse_reference(f"vault-db:db/creds/{one}#postgresql://h/d", [Scheme.VAULT_DATABASE]) for one in "ab")
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


class Dripping:
    """A Vault that sends `head` and then `drop` many times a second, until `dries` is set; after that it answers."""

    def __init__(self, head: bytes, drop: bytes) -> None:
        self.dries, dripping = threading.Event(), self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if dripping.dries.is_set():
                    self.answer(b'{"data": {"ttl": 60, "username": "u", "password": "p"}, "lease_duration": 60}')
                    return
                self.wfile.write(head)
                self.close_connection = True
                while not dripping.dries.wait(0.02):
                    self.wfile.write(drop)

            def answer(self, body: bytes) -> None:
                self.wfile.write(OK + b"Content-Type: application/json\r\nConnection: close\r\n\r\n" + body)

            def do_POST(self) -> None:
                self.answer(b"{}")

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.dries.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.mark.parametrize(
    ("head", "drop"),
    [
        (OK + b"Content-Type: application/json\r\n\r\n{", b" "),
        (CHUNKED, b"1\r\n \r\n"),
        (CHUNKED, b"0"),
        (OK + b"X-Long: ", b"x"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
    ids=["body", "chunks", "size of a chunk", "header", "interim answers"],
)
def test_a_dripping_answer_is_given_up_and_holds_no_lock(
    head: bytes, drop: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No pause is as long as the time-out. Other references wait for the login, and are read once it was given up."""
    monkeypatch.setattr(bounded_answers, "_READ_WITHIN_S", 0.5)
    store, pool = Dripping(head, drop), ThreadPoolExecutor(1)
    try:
        logins = VaultDatabaseLogins(client_of(store.url), 1)
        read = partial(logins.read, with_earlier=False)
        first = pool.submit(read, ROLE_A)
        failure = first.exception(20)
        assert isinstance(failure, StoreFailed)
        assert failure.cause is StoreCause.TIMEOUT
        monkeypatch.undo()
        store.dries.set()
        other = pool.submit(read, ROLE_B)
        assert "u:p@h" in other.result(20)[0].secret.reveal_text()
    finally:
        store.close()
        pool.shutdown()
