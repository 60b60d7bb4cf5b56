"""Secrets in Google Cloud, against an emulator of the published REST contract (gcp_emulator.py)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.core.secret_reference import parse_reference
from gateway.keys.sources.store_failure import StoreCause, StoreFailed
from gateway.keys.stores.gcp_secrets import GcpSecrets
from tests.keys.stores.gcp_emulator import GcpEmulator

SECRET = "projects/x/secrets/api-key"


@pytest.fixture
def gcp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GcpEmulator]:
    emulator = GcpEmulator()
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(emulator.credentials(tmp_path)))
    yield emulator
    emulator.close()


def read(gcp: GcpEmulator, text: str) -> list[tuple[str, str, bool]]:
    found = GcpSecrets(gcp.url).read(parse_reference(text), with_earlier=True)
    return [(one.name, one.secret.reveal_text(), one.created_at is not None) for one in found]


def cause(gcp: GcpEmulator, text: str) -> StoreCause:
    with pytest.raises(StoreFailed) as failed:
        read(gcp, text)
    assert "value-1" not in str(failed.value)
    return failed.value.cause


def test_versions_are_read_with_their_times(gcp: GcpEmulator) -> None:
    """The latest is in force. Without the right to see times, they are unknown."""
    gcp.add(SECRET, b"value-1")
    gcp.add(SECRET, b"value-2\n")
    assert read(gcp, f"gcp-sm:{SECRET}") == [("1", "value-1", True), ("2", "value-2", True)]
    gcp.may_see_times = False
    assert read(gcp, f"gcp-sm:{SECRET}") == [("1", "value-1", False), ("2", "value-2", False)]


def test_a_field_of_a_json_secret_is_read(gcp: GcpEmulator) -> None:
    """And a wrong one is named."""
    gcp.add(SECRET, b'{"key": "inside", "value-1": 1}')
    assert read(gcp, f"gcp-sm:{SECRET}#key") == [("1", "inside", True)]
    assert cause(gcp, f"gcp-sm:{SECRET}#other") is StoreCause.WRONG_FIELD


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"", StoreCause.UNREACHABLE),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]", StoreCause.UNUSABLE_ANSWER),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}}", StoreCause.UNUSABLE_ANSWER),
        (b'HTTP/1.1 200 OK\r\nContent-Length: 24\r\n\r\n{"payload":{"data":"%"}}', StoreCause.UNUSABLE_ANSWER),
    ],
)
def test_garbage_is_a_failure_with_a_cause(gcp: GcpEmulator, raw: bytes, expected: StoreCause) -> None:
    """No other exception reaches the gateway."""
    gcp.raw = raw
    assert cause(gcp, f"gcp-sm:{SECRET}") is expected


def test_missing_and_forbidden_secrets_have_their_causes(
    gcp: GcpEmulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """So has a machine without credentials."""
    gcp.add(SECRET, b"value-1")
    gcp.forbidden.add(SECRET)
    assert cause(gcp, f"gcp-sm:{SECRET}") is StoreCause.FORBIDDEN
    assert cause(gcp, "gcp-sm:projects/x/secrets/none") is StoreCause.NO_SUCH_PATH
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "nothing.json"))
    assert cause(gcp, f"gcp-sm:{SECRET}") is StoreCause.LOGIN


def test_needless_rights_are_named(gcp: GcpEmulator) -> None:
    """Adding versions is none of the gateway's work."""
    gcp.add(SECRET, b"value-1")
    reference = parse_reference(f"gcp-sm:{SECRET}")
    assert GcpSecrets(gcp.url).needless_rights(reference) == []
    gcp.held.add("secretmanager.versions.add")
    assert GcpSecrets(gcp.url).needless_rights(reference) == ["secretmanager.versions.add"]
