"""An answer of a store that does not end: it is given up, and what was read of it is forgotten."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.core.secret import Secret
from gateway.core.secret_reference import parse_reference
from gateway.keys.sources.secret_files import SecretSource
from gateway.keys.sources.store_failure import StoreCause, StoreFailed
from gateway.keys.stores.gcp_secrets import GcpSecrets
from gateway.keys.stores.vault_client import VaultClient, VaultLogin, VaultSettings
from gateway.keys.stores.vault_secrets import VaultSecrets
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


def test_an_answer_in_place_of_vaults_is_given_up(endless: Endless) -> None:
    """As of a log server at the address."""
    token = SecretSource(setting="VAULT_TOKEN", value=Secret.from_text("token"))
    client = VaultClient(VaultSettings(address=endless.url, login=VaultLogin.TOKEN, token=token))
    with pytest.raises(StoreFailed) as failed:
        VaultSecrets(client).read(parse_reference("vault:secret/app#key"), with_earlier=False)
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
