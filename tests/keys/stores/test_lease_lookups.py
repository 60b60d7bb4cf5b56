"""A Vault that gives and renews database users, and does not say whether a lease exists."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from gateway.core.secret import Secret
from gateway.core.secret_reference import Scheme, parse_reference
from gateway.keys.sources.secret_files import SecretSource
from gateway.keys.sources.store_failure import StoreFailed
from gateway.keys.stores.vault_client import VaultClient, VaultLogin, VaultSettings
from gateway.keys.stores.vault_secrets import VaultDatabaseLogins
from tests.manual_clock import ManualClock

REFERENCE = parse_reference("vault-db:database/creds/phoenix#postgresql://db:5432/phoenix", [Scheme.VAULT_DATABASE])
LASTS_S = 100


class Vault(BaseHTTPRequestHandler):
    """Answers a lookup with the status `lookup`. Counts the users it gave and the renewals."""

    lookup = 429
    users = renewals = 0

    def do_GET(self) -> None:
        """A new user, or what a token may know of itself."""
        if "creds" in self.path:
            type(self).users += 1
            data = {"username": f"user-{self.users}", "password": "p"}
            self._say(200, {"lease_id": f"lease-{self.users}", "lease_duration": LASTS_S, "data": data})
        else:
            self._say(200, {"data": {"ttl": 0, "renewable": False}})

    def do_PUT(self) -> None:
        """A lookup or a renewal."""
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path.endswith("/lookup"):
            self._say(self.lookup, {"errors": ["no"]})
        else:
            type(self).renewals += 1
            self._say(200, {"lease_duration": LASTS_S})

    do_POST = do_PUT  # noqa: N815

    def _say(self, status: int, answer: object) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Print nothing."""


@contextmanager
def serving(status: int) -> Iterator[tuple[type[Vault], str]]:
    """A Vault of its own on a free port."""
    kind = type("OneVault", (Vault,), {"lookup": status})
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield kind, f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def logins_at(address: str, clock: ManualClock) -> VaultDatabaseLogins:
    """What reads users there."""
    token = SecretSource(setting="VAULT_TOKEN", value=Secret.from_text("t"))
    settings = VaultSettings(address=address, login=VaultLogin.TOKEN, token=token)
    return VaultDatabaseLogins(VaultClient(settings), 10.0, clock.monotonic)


@pytest.mark.parametrize("status", [404, 405, 429, 500])
def test_a_user_is_renewed_where_nobody_says_whether_its_lease_exists(status: int) -> None:
    """A limit on the path, or a proxy that does not know it: the user is kept and renewed, not left to end."""
    clock = ManualClock()
    with serving(status) as (vault, address):
        logins = logins_at(address, clock)
        first = logins.read(REFERENCE, with_earlier=False)[0].secret.reveal_text()
        for _ in range(5):
            clock.advance(LASTS_S * 0.6)
            assert logins.read(REFERENCE, with_earlier=False)[0].secret.reveal_text() == first
        assert (vault.users, vault.renewals) == (1, 5)


def test_a_lease_that_vault_does_not_know_means_a_new_user() -> None:
    """As does one that was revoked."""
    with serving(400) as (vault, address):
        logins = logins_at(address, ManualClock())
        for _ in range(2):
            logins.read(REFERENCE, with_earlier=False)
        assert vault.users == 2


def test_a_sealed_vault_leaves_the_user_in_use() -> None:
    """The reader keeps what it knows, and says that the store gives no answer."""
    with serving(503) as (vault, address):
        logins = logins_at(address, ManualClock())
        logins.read(REFERENCE, with_earlier=False)
        with pytest.raises(StoreFailed):
            logins.read(REFERENCE, with_earlier=False)
        assert vault.users == 1
