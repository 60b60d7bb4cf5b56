"""Secrets in a real Vault and a real OpenBao: versions, rights, and every way to fail."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable

import pytest

from gateway.core.secret import SecretRefused
from gateway.core.secret_reference import parse_reference
from gateway.keys.sources.secret_store import StoredSecret
from gateway.keys.sources.store_failure import StoreCause, StoreFailed
from gateway.keys.stores.vault_secrets import VaultSecrets
from tests.keys.stores.vault_reads import client, failure, read
from tests.vault_process import BUILD_WITHIN_S, VaultProcess

pytestmark = pytest.mark.timeout(BUILD_WITHIN_S + 120)


def test_kv_2_gives_its_versions_and_their_times(vault: VaultProcess) -> None:
    """The last one is in force. A deleted one is not, and the one before it is."""
    for number in (1, 2, 3):
        vault("POST", "secret/data/versions", {"data": {"key": f"value-{number}"}})
    assert read(vault, "vault:secret/versions#key") == [("1", "value-1"), ("2", "value-2"), ("3", "value-3")]
    vault("DELETE", "secret/data/versions")
    assert read(vault, "vault:secret/versions#key") == [("1", "value-1"), ("2", "value-2")]
    vault("POST", "secret/data/versions", {"data": {"key": "value-4"}})
    found = VaultSecrets(client(vault)).read(parse_reference("vault:secret/versions#key"), with_earlier=False)
    assert [one.name for one in found] == ["4"]
    assert found[0].created_at is not None


def test_a_version_that_will_be_deleted_is_in_force_until_then(
    vault: VaultProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Vault's clock decides, not ours, which may be wrong."""
    now = time.time
    monkeypatch.setattr("time.time", lambda: now() + 7200)
    vault("POST", "secret/metadata/ending", {"delete_version_after": "1h"})
    for number in (1, 2):
        vault("POST", "secret/data/ending", {"data": {"key": f"value-{number}"}})
    assert read(vault, "vault:secret/ending#key") == [("1", "value-1"), ("2", "value-2")]
    vault("POST", "secret/destroy/ending", {"versions": [2]})
    monkeypatch.setattr("time.time", lambda: now() - 7200)
    assert read(vault, "vault:secret/ending#key") == [("1", "value-1")]


def test_kv_1_gives_one_value(vault: VaultProcess) -> None:
    """It keeps no versions."""
    vault("POST", "old/app/key", {"value": "only"})
    assert read(vault, "vault:old/app/key#value") == [("", "only")]


def test_what_cannot_be_read_has_its_cause(vault: VaultProcess) -> None:
    """And a message that names the path and what to do, without a value."""
    vault("POST", "secret/data/causes", {"data": {"key": "hidden-value", "number": 5}})
    reader = client(vault, vault.token("reader"))
    for text, cause, part in (
        ("vault:secret/causes#other", StoreCause.WRONG_FIELD, "has no field other"),
        ("vault:secret/causes#number", StoreCause.WRONG_FIELD, "no text"),
        ("vault:secret/nothing#key", StoreCause.NO_SUCH_PATH, "secret/data/nothing"),
        ("vault:elsewhere/x#key", StoreCause.FORBIDDEN, "elsewhere"),
    ):
        found = failure(vault, text, reader)
        assert (text, found.cause) == (text, cause)
        assert part in str(found)
        assert "hidden-value" not in str(found)


def test_a_wrong_token_is_a_login_that_is_refused(vault: VaultProcess) -> None:
    """Not a missing right."""
    assert failure(vault, "vault:secret/x#key", client(vault, "hvs.no-token")).cause is StoreCause.LOGIN


def test_a_sealed_vault_is_said_to_be_sealed(vault: VaultProcess) -> None:
    """And works again when it is unsealed."""
    vault("POST", "secret/data/sealed", {"data": {"key": "value"}})
    by = client(vault)
    vault.seal()
    try:
        assert failure(vault, "vault:secret/sealed#key", by).cause is StoreCause.SEALED
    finally:
        vault.unseal()
    assert read(vault, "vault:secret/sealed#key", by) == [("1", "value")]


def test_a_vault_that_is_gone_cannot_be_reached(vault: VaultProcess) -> None:
    """A port where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{probe.getsockname()[1]}"
        assert failure(vault, "vault:secret/x#key", client(vault, address=closed)).cause is StoreCause.UNREACHABLE


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"no HTTP at all\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nno JSON!!",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.2/\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_garbage_is_a_failure_with_a_cause(vault: VaultProcess, answer: bytes) -> None:
    """Whatever a server answers, no other exception reaches the gateway."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    taken, _ = server.accept()
                except OSError:
                    return
                with taken:
                    taken.recv(4096)
                    taken.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        found = failure(vault, "vault:secret/x#key", client(vault, address=address))
        assert found.cause in (StoreCause.UNUSABLE_ANSWER, StoreCause.UNREACHABLE)
        server.shutdown(socket.SHUT_RDWR)


LATER = ("token revoked", "right taken", "version deleted", "version destroyed", "field gone", "mount gone")


@pytest.mark.parametrize("kind", LATER)
def test_what_goes_wrong_later_leaves_the_known_value(vault: VaultProcess, kind: str) -> None:
    """Each has its cause and no value in its message, and the next version is used once it can be read again."""
    mount, policy = f"late{LATER.index(kind)}", f"late-{LATER.index(kind)}"
    vault.mount(mount, "kv", version="2")
    path = f"{mount}/data/app"
    vault.policy(policy, {path: ["read"]})
    vault("POST", path, {"data": {"key": "hidden-value-1", "other": "hidden-other"}})
    token = vault.token(policy)
    stored = StoredSecret(parse_reference(f"vault:{mount}/app#key"), VaultSecrets(client(vault, token)), lambda: 100.0)

    def again() -> None:
        vault("POST", path, {"data": {"key": "hidden-value-2", "other": "hidden-other"}})

    faults: dict[str, tuple[Callable[[], object], StoreCause]] = {
        "token revoked": (lambda: vault("POST", "auth/token/revoke", {"token": token}), StoreCause.LOGIN),
        "right taken": (lambda: vault.policy(policy, {path: ["deny"]}), StoreCause.FORBIDDEN),
        "version deleted": (lambda: vault("DELETE", path), StoreCause.NO_SUCH_PATH),
        "version destroyed": (
            lambda: vault("POST", f"{mount}/destroy/app", {"versions": [1]}), StoreCause.NO_SUCH_PATH
        ),
        "field gone": (lambda: vault("POST", path, {"data": {"other": "hidden-other"}}), StoreCause.WRONG_FIELD),
        "mount gone": (lambda: vault("DELETE", f"sys/mounts/{mount}"), StoreCause.NO_SUCH_PATH),
    }  # fmt: skip
    begin, cause = faults[kind]
    begin()
    refused = stored.refresh()
    assert isinstance(refused, StoreFailed)
    assert (refused.cause, stored.failing_since) == (cause, 100.0)
    assert "hidden" not in str(refused)
    assert stored.versions[-1].secret.reveal_text() == "hidden-value-1"
    if kind == "token revoked":
        return  # a token that is given as a value cannot be replaced
    if kind == "right taken":
        vault.policy(policy, {path: ["read"]})
    if kind == "mount gone":
        vault.mount(mount, "kv", version="2")
    again()
    assert stored.refresh() is None
    assert (stored.failing_since, stored.versions[-1].secret.reveal_text()) == (None, "hidden-value-2")


def test_known_versions_stay_while_the_store_is_away(vault: VaultProcess) -> None:
    """The failure and its time are kept, and a new version is found afterwards."""
    vault("POST", "secret/data/away", {"data": {"key": "value-1"}})
    now = [100.0]
    stored = StoredSecret(parse_reference("vault:secret/away#key"), VaultSecrets(client(vault)), lambda: now[0])
    vault.seal()
    try:
        assert isinstance(stored.refresh(), SecretRefused)
        now[0] = 200.0
        assert isinstance(stored.refresh(), SecretRefused)
        assert (stored.failing_since, stored.versions[-1].secret.reveal_text()) == (100.0, "value-1")
    finally:
        vault.unseal()
    vault("POST", "secret/data/away", {"data": {"key": "value-2"}})
    assert stored.refresh() is None
    assert (stored.failing_since, stored.versions[-1].secret.reveal_text()) == (None, "value-2")


def test_needless_rights_are_named(vault: VaultProcess) -> None:
    """Reading is needed; listing and writing are not. Asking changes nothing."""
    vault("POST", "secret/data/rights/key", {"data": {"key": "value"}})
    vault.policy("writer", {"secret/data/rights/key": ["read", "update"], "secret/metadata/rights/": ["list"]})
    reference = parse_reference("vault:secret/rights/key#key")
    assert VaultSecrets(client(vault, vault.token("reader"))).needless_rights(reference) == []
    found = VaultSecrets(client(vault, vault.token("writer"))).needless_rights(reference)
    assert found == ["update secret/data/rights/key", "list secret/metadata/rights/"]
