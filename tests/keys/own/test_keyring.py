"""Our own keys: loaded with all faults at once, looked up, described, reread."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from gateway.core.ed25519 import generate_signing_key
from gateway.core.secret import Secret
from gateway.core.types import Environment, OperatorCode, TenantId, UnixSeconds
from gateway.errors import KeyUnknown, OperatorUnknown, TenantUnknown
from gateway.keys.own.keyring import Keyring, KeyringRefused, OperatorEntry, TenantEntry
from gateway.keys.sources.secret_files import SecretSource
from tests.manual_clock import ManualClock

TENANT, BARE = TenantId("tenant"), TenantId("bare")
OPERATOR = OperatorCode("acme")


class Bench:
    """A keyring with secrets in files."""

    def __init__(self, directory: Path) -> None:
        self.hmac, self.launch = directory / "hmac", directory / "launch"
        self.key, pem = generate_signing_key()
        write(self.hmac, b"first-secret\n")
        write(self.launch, pem)
        self.clock = ManualClock()
        self.events: Counter[str] = Counter()
        self.keyring = Keyring(
            tenants=[
                TenantEntry(
                    tenant_id=TENANT,
                    hmac=SecretSource(setting="INGESTION_HMAC_SECRET_FILE", path=self.hmac),
                    api_key=SecretSource(setting="ADMIN_API_KEY", value=Secret(b"api-key-text")),
                    api_key_id="uuid",
                ),
                TenantEntry(tenant_id=BARE),
            ],
            operators=[
                OperatorEntry(
                    operator_code=OPERATOR,
                    environment=Environment.SANDBOX,
                    signing_key=SecretSource(setting="PREDICTION_LAUNCH_KEY_FILE", path=self.launch),
                    operator_id="op-1",
                )
            ],
            clock=self.clock,
            on_event=lambda name: self.events.update([name]),
        )

    def hmac_now(self) -> bytes:
        secret = self.keyring.tenant(TENANT).hmac
        assert secret is not None
        return secret.reveal()


def write(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A loaded keyring."""
    return Bench(tmp_path)


def test_keys_are_found_by_owner(bench: Bench) -> None:
    """Lookups of tenants and operators; names that are not configured are unknown."""
    assert bench.hmac_now() == b"first-secret"
    assert bench.keyring.api_key(TENANT) == "api-key-text"
    operator = bench.keyring.operator(OPERATOR, Environment.SANDBOX)
    assert operator.signing_key is not None
    assert operator.signing_key.public == bench.key.public
    with pytest.raises(TenantUnknown):
        bench.keyring.tenant(TenantId("other"))
    with pytest.raises(OperatorUnknown):
        bench.keyring.operator(OPERATOR, Environment.PROD)
    with pytest.raises(KeyUnknown):
        bench.keyring.api_key(BARE)
    with pytest.raises(KeyUnknown):
        bench.keyring.sign_request(BARE, "GET", "/", UnixSeconds(1), b"")
    with pytest.raises(KeyUnknown):
        bench.keyring.sign_socket(BARE, "/", UnixSeconds(1))


def test_requests_are_signed_as_the_vector_says(bench: Bench) -> None:
    """The header is HMAC-SHA256 in hex over the canonical string; the expected one was made with openssl."""
    header = bench.keyring.sign_request(TENANT, "POST", "/v1/events", UnixSeconds(1700000000), b"{}")
    assert header == "hmac-sha256=3be12778db3b26654bf5c577bc1c6d7b8542bd7e18a82ca896eb37ba8c25c4ce"


def test_descriptions_hold_no_material(bench: Bench) -> None:
    """By kind, then owner; fingerprints for asymmetric keys, nothing for secrets."""
    rows = bench.keyring.describe()
    assert [(row.key_id, row.kind.value, row.public_key_sha256) for row in rows] == [
        ("tenant/hmac", "tenant_hmac", None),
        ("tenant/api-key", "admin_api_key", None),
        (bench.key.key_id, "operator", bench.key.key_id),
    ]
    assert "first-secret" not in repr(rows) + repr(bench.keyring.tenant(TENANT))
    assert "api-key-text" not in repr(rows) + repr(bench.keyring.tenant(TENANT))


def test_all_faults_are_reported_at_once_by_setting(tmp_path: Path) -> None:
    """A missing file, a readable one, a wrong key and a header-breaking one: four faults, no value repeated."""
    readable, wrong = tmp_path / "readable", tmp_path / "wrong"
    write(readable, b"hunter2")
    readable.chmod(0o644)
    write(wrong, b"hunter2 is no PEM")
    with pytest.raises(KeyringRefused) as caught:
        Keyring(
            tenants=[
                TenantEntry(
                    tenant_id=TENANT,
                    hmac=SecretSource(setting="A_FILE", path=tmp_path / "absent"),
                    api_key=SecretSource(setting="B_FILE", path=readable),
                ),
                TenantEntry(tenant_id=BARE, api_key=SecretSource(setting="C", value=Secret(b"hunter2\r\nX: y"))),
            ],
            operators=[
                OperatorEntry(
                    operator_code=OPERATOR,
                    environment=Environment.PROD,
                    signing_key=SecretSource(setting="D_FILE", path=wrong),
                )
            ],
            clock=ManualClock(),
        )
    assert [fault.setting for fault in caught.value.faults] == ["A_FILE", "B_FILE", "C", "D_FILE"]
    assert "hunter2" not in str(caught.value)


def test_a_changed_file_is_taken_over_once_it_stood_still(bench: Bench) -> None:
    """A change seen at one check is loaded at the next, if the file is unchanged since."""
    write(bench.hmac, b"half")
    bench.keyring.check_files()
    write(bench.hmac, b"second-secret\n")
    bench.keyring.check_files()
    assert bench.hmac_now() == b"first-secret"
    bench.keyring.check_files()
    assert bench.hmac_now() == b"second-secret"
    bench.keyring.check_files()
    assert bench.events == {"secret_file_reloaded": 1}


def test_a_wrong_or_missing_file_keeps_the_old_key(bench: Bench) -> None:
    """Half a PEM, loose permissions, an absent file: counted once, and the key in use stays."""
    whole = bench.launch.read_bytes()
    for content in (whole[: len(whole) // 2], b""):
        write(bench.launch, content)
        for _ in range(3):
            bench.keyring.check_files()
    assert bench.events == {"secret_file_refused": 2}
    bench.hmac.chmod(0o644)
    bench.launch.unlink()
    for _ in range(3):
        bench.keyring.check_files()
    assert bench.events == {"secret_file_refused": 3}
    assert bench.hmac_now() == b"first-secret"
    operator = bench.keyring.operator(OPERATOR, Environment.SANDBOX)
    assert operator.signing_key is not None
    assert operator.signing_key.public == bench.key.public
    key, pem = generate_signing_key()
    write(bench.launch, pem)
    for _ in range(2):
        bench.keyring.check_files()
    operator = bench.keyring.operator(OPERATOR, Environment.SANDBOX)
    assert operator.signing_key is not None
    assert operator.signing_key.public == key.public


def test_a_file_replaced_by_renaming_is_noticed(bench: Bench, tmp_path: Path) -> None:
    """The usual way of replacing a secret: a new file renamed over the old one."""
    write(tmp_path / "new", b"renamed-in\n")
    (tmp_path / "new").rename(bench.hmac)
    for _ in range(2):
        bench.keyring.check_files()
    assert bench.hmac_now() == b"renamed-in"
