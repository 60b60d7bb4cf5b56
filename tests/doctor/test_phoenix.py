"""Faults between this machine and Phoenix, one at a time: only the finding for this fault is a fault."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.doctor.report import State, exit_code
from tests.doctor.diagnosis import OffsetClock, faults_in, findings_of, pick, settings_of
from tests.ports import free_port
from tests.sandbox_process import SandboxProcess


async def test_nothing_is_wrong(sandbox: SandboxProcess, tmp_path: Path) -> None:
    """Where all is well every line is ok, and the exit code is 0."""
    findings = await findings_of(settings_of(sandbox, tmp_path))
    assert {finding.state for finding in findings} == {State.OK}
    assert exit_code(findings) == 0


async def test_it_changes_nothing(sandbox: SandboxProcess, tmp_path: Path) -> None:
    """Every request is a GET, and no file is made."""
    sandbox.control("DELETE", "/requests")
    await findings_of(settings_of(sandbox, tmp_path))
    methods = {request["method"] for request in sandbox.control("GET", "/requests")["requests"]}
    assert methods == {"GET"}
    assert list((tmp_path / "data").iterdir()) == []


async def test_wrong_hmac_secret(sandbox: SandboxProcess, tmp_path: Path) -> None:
    """Another HMAC secret than Phoenix's is found by a signed request, and named."""
    findings = await findings_of({**settings_of(sandbox, tmp_path), "INGESTION_HMAC_SECRET": "0" * 64})
    assert faults_in(findings) == ["hmac"]
    found = pick(findings, "hmac")
    assert "INGESTION_HMAC_SECRET" in found.what
    assert "401 AUTH_001" in found.what
    assert "compare" in found.fix


async def test_wrong_api_key(sandbox: SandboxProcess, tmp_path: Path) -> None:
    """Another API key than Phoenix's is found where it is used: admin and query."""
    findings = await findings_of({**settings_of(sandbox, tmp_path), "ADMIN_API_KEY": "pk_" + "0" * 32})
    assert faults_in(findings) == ["admin", "query"]
    assert "ADMIN_API_KEY is wrong or not active" in pick(findings, "admin").what
    assert "compare ADMIN_API_KEY" in pick(findings, "query").fix


@pytest.mark.parametrize("auth", ["bearer", "hmac", "jwt"])
async def test_other_ways_to_authenticate(sandbox: SandboxProcess, tmp_path: Path, auth: str) -> None:
    """The configured way is the one that is tried, and it is named."""
    settings = {**settings_of(sandbox, tmp_path), "ADMIN_AUTH": auth, "QUERY_AUTH": auth}
    findings = await findings_of(settings)
    assert faults_in(findings) == []
    assert f"ADMIN_AUTH {auth}" in pick(findings, "admin").what
    assert f"QUERY_AUTH {auth}" in pick(findings, "query").what


async def test_the_key_without_the_right(sandbox: SandboxProcess, tmp_path: Path) -> None:
    """A 403 differs from a 401: the key is known but has no right."""
    sandbox.control("POST", "/faults", {"surface": "admin", "kind": "status", "status": 403, "path_prefix": "/health"})
    findings = await findings_of(settings_of(sandbox, tmp_path))
    assert "has no right here (403)" in pick(findings, "admin").what


async def test_health_without_credentials_proves_nothing(sandbox: SandboxProcess, tmp_path: Path) -> None:
    """If the admin host answers 200 to everyone, that is a warning, and the query host verifies the signature."""
    sandbox.control("POST", "/faults", {"surface": "admin", "kind": "status", "status": 200, "path_prefix": "/health"})
    findings = await findings_of(settings_of(sandbox, tmp_path))
    assert pick(findings, "admin").state is State.WARNING
    assert "without credentials" in pick(findings, "admin").what
    assert pick(findings, "hmac").state is State.OK
    assert "query host" in pick(findings, "hmac").what


@pytest.mark.parametrize(
    ("offset_s", "state"),
    [
        (10, State.OK),
        (-10, State.OK),
        (45, State.WARNING),
        (-45, State.WARNING),
        (65, State.FAULT),
        (-65, State.FAULT),
    ],
)
async def test_clock_that_differs_from_the_date_header(
    sandbox: SandboxProcess, tmp_path: Path, offset_s: float, state: State
) -> None:
    """From 30 s on the clock is a warning, beyond 60 s a fault, as for readiness, in either direction."""
    findings = await findings_of(settings_of(sandbox, tmp_path), clock=OffsetClock(offset_s))
    found = pick(findings, "clock")
    assert found.state is state
    if state is not State.OK:
        assert ("ahead of" if offset_s > 0 else "behind") in found.what
        assert "NTP" in found.fix


async def test_clock_beyond_the_tolerance(sandbox: SandboxProcess, tmp_path: Path) -> None:
    """After 300 s signatures are refused. The finding names the clock and not the secret."""
    findings = await findings_of(settings_of(sandbox, tmp_path), clock=OffsetClock(1000))
    assert faults_in(findings) == ["clock", "hmac"]
    assert "timestamp" in pick(findings, "hmac").what
    assert "clock" in pick(findings, "hmac").fix
    assert "clock" in pick(findings, "operator-key").fix


async def test_clock_of_phoenix_that_no_header_shows(sandbox: SandboxProcess, tmp_path: Path) -> None:
    """Where Date agrees and Phoenix still calls the timestamp old, the clock is named all the same."""
    sandbox.control("POST", "/clock", {"offset_s": 1000})
    try:
        findings = await findings_of(settings_of(sandbox, tmp_path))
    finally:
        sandbox.control("POST", "/clock", {"offset_s": 0})
    assert pick(findings, "clock").state is State.OK
    assert "401 AUTH_004" in pick(findings, "hmac").what


async def test_host_that_is_down(sandbox: SandboxProcess, tmp_path: Path) -> None:
    """A host without a listener is one fault. Checks that need it are skipped with the reason."""
    settings = {**settings_of(sandbox, tmp_path), "ADMIN_BASE_URL": f"http://127.0.0.1:{free_port()}"}
    findings = await findings_of(settings)
    assert faults_in(findings) == ["tls"]
    found = pick(findings, "tls", "ADMIN_BASE_URL")
    assert "no connection" in found.what
    assert "ADMIN_BASE_URL" in found.fix
    skips = [finding.name for finding in findings if finding.state is State.SKIPPED]
    assert skips == ["health", "admin", "hmac"]
    assert "because of health (ADMIN_BASE_URL" in pick(findings, "admin").what


async def test_an_unknown_name(sandbox: SandboxProcess, tmp_path: Path) -> None:
    """A host name without an address is a fault of DNS, and names the setting."""
    settings = {**settings_of(sandbox, tmp_path), "PREDICTION_BASE_URL": "https://no-such-host.invalid"}
    findings = await findings_of(settings)
    assert faults_in(findings) == ["dns"]
    found = pick(findings, "dns", "no-such-host.invalid")
    assert "cannot be looked up" in found.what or "no result within" in found.what
    assert pick(findings, "platform-key").state is State.SKIPPED


async def test_host_that_never_answers(sandbox: SandboxProcess, tmp_path: Path) -> None:
    """A hanging host ends its check within the time limit, and the others continue."""
    sandbox.control("POST", "/faults", {"surface": "query", "kind": "hang"})
    findings = await findings_of(settings_of(sandbox, tmp_path), limit_s=3.0)
    assert pick(findings, "health", "QUERY_BASE_URL").state is State.FAULT
    assert pick(findings, "query").state is State.SKIPPED
    assert pick(findings, "admin").state is State.OK


@pytest.mark.parametrize(
    ("planted", "words"),
    [
        ({"kind": "status", "status": 503}, "503"),
        ({"kind": "redirect"}, "redirect"),
        ({"kind": "cut"}, "GET /health"),
        ({"kind": "huge", "megabytes": 1}, "larger than"),
    ],
)
async def test_health_in_trouble(
    sandbox: SandboxProcess, tmp_path: Path, planted: dict[str, object], words: str
) -> None:
    """Trouble of the ingestion host shows on its health line."""
    sandbox.control("POST", "/faults", {"surface": "ingestion", **planted})
    findings = await findings_of(settings_of(sandbox, tmp_path))
    assert faults_in(findings) == ["health"]
    assert words in pick(findings, "health", "INGESTION_BASE_URL").what


async def test_a_board_is_read(sandbox: SandboxProcess, tmp_path: Path) -> None:
    """Where there is an active board, one entry of it is read and understood."""
    sandbox.control("POST", f"/boards/{sandbox.environ['TENANT_ID']}/weekly", {"scores": {"a": 1, "b": 2}})
    findings = await findings_of(settings_of(sandbox, tmp_path))
    assert "board weekly read" in pick(findings, "query").what
    assert "2 entries" in pick(findings, "query").what


async def test_a_board_that_cannot_be_understood(sandbox: SandboxProcess, tmp_path: Path) -> None:
    """An answer of unknown form is a separate fault from wrong credentials."""
    sandbox.control("POST", f"/boards/{sandbox.environ['TENANT_ID']}/weekly", {"scores": {"a": 1}})
    sandbox.control("POST", "/faults", {"surface": "query", "kind": "garbage", "path_prefix": "/v1/leaderboards"})
    findings = await findings_of(settings_of(sandbox, tmp_path))
    assert faults_in(findings) == ["query"]
    assert "cannot be read" in pick(findings, "query").what


async def test_hosts_of_two_environments(sandbox: SandboxProcess, tmp_path: Path) -> None:
    """A board that admin lists and query does not know points at base URLs of two environments."""
    sandbox.control("POST", f"/boards/{sandbox.environ['TENANT_ID']}/weekly", {"scores": {"a": 1}})
    sandbox.control(
        "POST", "/faults", {"surface": "query", "kind": "status", "status": 404, "path_prefix": "/v1/leaderboards"}
    )
    findings = await findings_of(settings_of(sandbox, tmp_path))
    assert faults_in(findings) == ["query"]
    assert "same environment" in pick(findings, "query").fix


async def test_what_phoenix_says_is_not_repeated(sandbox: SandboxProcess, tmp_path: Path) -> None:
    """A refusal that holds the credential as its code, and a board's name that holds a terminal's commands."""
    settings = settings_of(sandbox, tmp_path)
    refusal = {"code": settings["ADMIN_API_KEY"], "error": settings["ADMIN_API_KEY"]}
    sandbox.control(
        "POST",
        "/faults",
        {"surface": "admin", "kind": "status", "status": 401, "body": refusal, "path_prefix": "/health"},
    )
    listed = {"leaderboards": [{"leaderboard_id": "\x1b[2Jweekly", "status": "active"}]}
    sandbox.control("POST", "/faults", {"surface": "admin", "kind": "status", "status": 200, "body": listed})
    findings = await findings_of(settings)
    assert "refused (401)" in pick(findings, "admin").what
    reported = "".join(f"{finding.what}{finding.fix}{finding.subject}" for finding in findings)
    assert settings["ADMIN_API_KEY"] not in reported
    assert "\x1b" not in reported


async def test_one_tenant_of_two(sandbox: SandboxProcess, tmp_path: Path) -> None:
    """With several tenants, each has its own findings, and the faulty one is named."""
    settings = settings_of(sandbox, tmp_path)
    given = {name: settings.pop(name) for name in ("TENANT_ID", "ADMIN_API_KEY", "INGESTION_HMAC_SECRET")}
    document = f"""
        [[tenants]]
        tenant_id = "{given["TENANT_ID"]}"
        admin_api_key = "{given["ADMIN_API_KEY"]}"
        ingestion_hmac_secret = "{given["INGESTION_HMAC_SECRET"]}"
        [[tenants]]
        tenant_id = "another"
        admin_api_key = "{given["ADMIN_API_KEY"]}"
        ingestion_hmac_secret = "{given["INGESTION_HMAC_SECRET"]}"
    """
    del settings["ADMIN_API_KEY_ID"]
    findings = await findings_of({**settings, "GATEWAY_CONFIG": str(write(tmp_path / "gateway.toml", document))})
    assert pick(findings, "hmac", given["TENANT_ID"]).state is State.OK
    assert pick(findings, "hmac", "another").state is State.FAULT


def write(file: Path, text: str) -> Path:
    """Write a file that only its owner can read."""
    file.write_text(text)
    file.chmod(0o600)
    return file
