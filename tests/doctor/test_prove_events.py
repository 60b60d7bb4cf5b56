"""`--prove-events` against a sandbox of each kind: what it finds, what it prints, what it does not touch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from gateway.doctor.event_trials import TrialSettings
from gateway.doctor.prove_board import prove
from gateway.doctor.prove_events import TrialReport
from gateway.doctor.report import State, exit_code
from gateway.resilience.clock import SystemClock
from tests.doctor.diagnosis import config_of, pick, settings_of
from tests.sandbox_process import SandboxProcess

BOARD = "prove-events-1"
QUICK = TrialSettings(patience_s=1.5, settle_s=0.05, poll_every_s=0.02, request_s=5.0)
SAFE = {"PHOENIX_SEND_EVENT_ID": "true", "PHOENIX_BULK_EVENTS": "off", "PHOENIX_DEDUPLICATES_EVENTS": "false"}


@pytest.fixture
def settings(sandbox: SandboxProcess, tmp_path: Path) -> dict[str, str]:
    """Settings of a gateway that has found nothing out yet: the defaults."""
    return {**settings_of(sandbox, tmp_path), **SAFE}


async def report_of(
    settings: Mapping[str, str],
    board: str = BOARD,
    *,
    yes: bool = False,
    tenant: str = "",
    on_step: Callable[[str], None] = lambda step: None,
) -> TrialReport:
    """Run the report, impatiently."""
    config = config_of(settings)
    return await prove(config, board, SystemClock(), tenant_id=tenant, use_filled=yes, settings=QUICK, on_step=on_step)


def found(report: TrialReport) -> dict[str, str]:
    """The settings that were found out, by short names."""
    return {name.removeprefix("PHOENIX_").lower(): value for name, value in report.settings.items()}


@pytest.mark.parametrize("dedupe", [True, False])
@pytest.mark.parametrize(
    ("bulk", "envelope", "expected"),
    [
        ("404", "both", "off"),
        ("405", "both", "off"),
        ("on", "both", "events"),
        ("on", "object", "events"),
        ("on", "array", "array"),
    ],
)
async def test_every_kind_of_phoenix(
    sandbox: SandboxProcess, settings: dict[str, str], dedupe: bool, bulk: str, envelope: str, expected: str
) -> None:
    """Bulk, envelope and deduplication are found as they are, and the command succeeds."""
    sandbox.control("POST", "/settings", {"dedupe": dedupe, "bulk": bulk, "bulk_envelope": envelope})
    report = await report_of(settings)
    deduplicates = "true" if dedupe else "false"
    assert found(report) == {"send_event_id": "true", "bulk_events": expected, "deduplicates_events": deduplicates}
    assert exit_code(report.findings) == 0


@pytest.mark.parametrize("status", [200, 202, 409])
async def test_every_answer_to_a_repeated_event(sandbox: SandboxProcess, settings: dict[str, str], status: int) -> None:
    """For any answer to a repeated event, the score shows that it counted once."""
    sandbox.control("POST", "/settings", {"duplicate_status": status})
    report = await report_of(settings)
    assert found(report)["deduplicates_events"] == "true"
    assert f"answered {status}" in pick(report.findings, "deduplication").what


async def test_no_event_is_sent_more_often_than_meant(sandbox: SandboxProcess, settings: dict[str, str]) -> None:
    """Nothing is retried: each body is sent once, or twice where that is the question."""
    sandbox.control("DELETE", "/requests")
    await report_of(settings)
    requests = sandbox.control("GET", "/requests?surface=ingestion")["requests"]
    posts = [request["body_base64"] for request in requests if request["method"] == "POST"]
    assert sorted({posts.count(body) for body in posts}) == [1, 2]
    assert sum(posts.count(body) == 2 for body in set(posts)) == 2


async def test_what_it_could_not_find_out_is_said(settings: dict[str, str]) -> None:
    """The length of Phoenix's memory is not measured, and the report says so."""
    said = pick((await report_of(settings)).findings, "limits").what
    assert "not tested" in said
    assert "300 s" in said


async def test_event_id_is_refused(sandbox: SandboxProcess, settings: dict[str, str]) -> None:
    """Where an event with an id is refused and one without is taken, ids are not to be sent."""
    planted = {"surface": "ingestion", "method": "POST", "path_prefix": "/v1/events", "kind": "status", "status": 400}
    sandbox.control("POST", "/faults", {**planted, "times": 1})
    report = await report_of(settings)
    assert found(report) == {"send_event_id": "false", "bulk_events": "events", "deduplicates_events": "false"}
    assert pick(report.findings, "deduplication").state is State.SKIPPED
    assert "PHOENIX_SEND_EVENT_ID is true, but" in pick(report.findings, "settings").what


async def test_neither_envelope_is_taken(sandbox: SandboxProcess, settings: dict[str, str]) -> None:
    """Two refusals mean that there is no bulk to use."""
    planted = {"surface": "ingestion", "path_prefix": "/v1/events/bulk", "kind": "status", "status": 400}
    sandbox.control("POST", "/faults", planted)
    report = await report_of(settings)
    assert found(report)["bulk_events"] == "off"
    assert "accepts neither envelope" in pick(report.findings, "bulk").what


async def test_bulk_that_is_accepted_and_lost(sandbox: SandboxProcess, settings: dict[str, str]) -> None:
    """A 202 without effect is no proof of an envelope."""
    planted = {"surface": "ingestion", "path_prefix": "/v1/events/bulk", "kind": "status", "status": 202}
    sandbox.control("POST", "/faults", planted)
    report = await report_of(settings)
    assert found(report)["bulk_events"] == "off"
    assert "nothing counted" in pick(report.findings, "bulk").what


async def test_one_envelope_is_accepted_and_lost(sandbox: SandboxProcess, settings: dict[str, str]) -> None:
    """Where the first envelope is taken without effect the other one is tried."""
    planted = {"surface": "ingestion", "path_prefix": "/v1/events/bulk", "kind": "status", "status": 202, "times": 1}
    sandbox.control("POST", "/faults", planted)
    assert found(await report_of(settings))["bulk_events"] == "array"


async def test_bulk_in_trouble(sandbox: SandboxProcess, settings: dict[str, str]) -> None:
    """A 503 does not show whether bulk works: the setting stays off, as unknown."""
    planted = {"surface": "ingestion", "path_prefix": "/v1/events/bulk", "kind": "status", "status": 503}
    sandbox.control("POST", "/faults", planted)
    report = await report_of(settings)
    assert found(report)["bulk_events"] == "off"
    assert pick(report.findings, "bulk").state is State.WARNING
    assert "not proven" in pick(report.findings, "bulk").what


async def test_repeat_that_is_not_answered(sandbox: SandboxProcess, settings: dict[str, str]) -> None:
    """A repeat that may not have arrived proves nothing, even if the score is one. The setting stays safe."""
    steps: list[str] = []

    def on_step(step: str) -> None:
        steps.append(step)
        if step == "the same bulk call twice":
            # The first call of this step acts and is answered late enough to be seen; the second is cut off unread.
            planted = {"surface": "ingestion", "path_prefix": "/v1/events/bulk"}
            sandbox.control("POST", "/faults", {**planted, "kind": "delay", "delay_ms": 1, "times": 1})
            sandbox.control("POST", "/faults", {**planted, "kind": "cut", "times": 1})

    report = await report_of(settings, on_step=on_step)
    assert "the same bulk call twice" in steps
    assert pick(report.findings, "bulk-deduplication").state is State.WARNING
    assert found(report)["deduplicates_events"] == "false"


async def test_deduplication_alone_and_not_in_bulk(sandbox: SandboxProcess, settings: dict[str, str]) -> None:
    """Where a repeated bulk call counts twice, nothing may be sent again."""

    def on_step(step: str) -> None:
        if step == "the same bulk call twice":
            sandbox.control("POST", "/settings", {"dedupe": False})

    report = await report_of(settings, on_step=on_step)
    assert "counts once" in pick(report.findings, "deduplication").what
    assert "counts each time" in pick(report.findings, "bulk-deduplication").what
    assert found(report)["deduplicates_events"] == "false"


async def test_event_that_never_counts(sandbox: SandboxProcess, settings: dict[str, str]) -> None:
    """Accepted and never counted: nothing can be found out, and no settings are printed."""
    sandbox.control("POST", "/faults", {"surface": "ingestion", "method": "POST", "kind": "status", "status": 202})
    report = await report_of(settings)
    assert report.settings == {}
    assert pick(report.findings, "event").state is State.FAULT
    assert "no score appeared" in pick(report.findings, "event").what


async def test_board_that_is_known_late(sandbox: SandboxProcess, settings: dict[str, str]) -> None:
    """An event that is swallowed because the scoring does not know the board yet is followed by another."""
    planted = {"surface": "ingestion", "method": "POST", "kind": "status", "status": 202, "times": 1}
    sandbox.control("POST", "/faults", planted)
    assert found(await report_of(settings))["deduplicates_events"] == "true"


async def test_wrong_secret(settings: dict[str, str]) -> None:
    """A refused signature ends the trials and points at the doctor's own lines."""
    report = await report_of({**settings, "INGESTION_HMAC_SECRET": "0" * 64})
    assert report.settings == {}
    assert "401 AUTH_001" in pick(report.findings, "event").what
    assert "hmac" in pick(report.findings, "event").fix


async def test_wrong_api_key(sandbox: SandboxProcess, settings: dict[str, str]) -> None:
    """Without admin rights there is no board, and no event is sent."""
    sandbox.control("DELETE", "/requests")
    report = await report_of({**settings, "ADMIN_API_KEY": "pk_" + "0" * 32})
    assert pick(report.findings, "board").state is State.FAULT
    assert sandbox.control("GET", "/requests?surface=ingestion")["requests"] == []


@pytest.mark.parametrize("board", ["xp-weekly", "approved", "", "prove/../x", "prove events"])
async def test_board_whose_name_does_not_say_so(sandbox: SandboxProcess, settings: dict[str, str], board: str) -> None:
    """A board that may be in use is refused before any call, even with --yes."""
    sandbox.control("DELETE", "/requests")
    report = await report_of(settings, board, yes=True)
    assert pick(report.findings, "board").state is State.FAULT
    assert sandbox.control("GET", "/requests")["requests"] == []


async def test_board_with_entries(sandbox: SandboxProcess, settings: dict[str, str]) -> None:
    """A board with entries is not used without --yes."""
    path = f"/boards/{settings['TENANT_ID']}/{BOARD}"
    sandbox.control("POST", path, {"scores": {"someone": 5}})
    refused = await report_of(settings)
    assert "--yes" in pick(refused.findings, "board").fix
    state = sandbox.control("GET", "/state")["tenants"][settings["TENANT_ID"]]["boards"]
    assert state[0]["scores"] == {"someone": 5}
    assert found(await report_of(settings, yes=True))["bulk_events"] == "events"


async def test_board_that_is_there_and_empty(sandbox: SandboxProcess, settings: dict[str, str]) -> None:
    """An empty board with the right name is used unchanged."""
    sandbox.control("POST", f"/boards/{settings['TENANT_ID']}/{BOARD}", {})
    report = await report_of(settings)
    assert pick(report.findings, "board").what == "exists and is empty"
    assert report.settings != {}


async def test_board_that_is_not_active(sandbox: SandboxProcess, settings: dict[str, str]) -> None:
    """Events for an inactive board vanish with a 202, so it is refused."""
    path = f"/boards/{settings['TENANT_ID']}/{BOARD}"
    sandbox.control("POST", path, {})
    sandbox.control("POST", f"{path}/status", {"status": "inactive"})
    report = await report_of(settings)
    assert pick(report.findings, "board").state is State.FAULT
    assert "not active" in pick(report.findings, "board").what
    assert report.settings == {}


async def test_configured_otherwise_than_proven(sandbox: SandboxProcess, settings: dict[str, str]) -> None:
    """Settings under which events are doubled or refused are a fault; settings that could be better are not."""
    better = await report_of(settings)
    assert pick(better.findings, "settings").state is State.OK
    assert "PHOENIX_DEDUPLICATES_EVENTS=true" in pick(better.findings, "settings").fix

    sandbox.control("POST", "/settings", {"dedupe": False})
    doubled = await report_of({**settings, "PHOENIX_DEDUPLICATES_EVENTS": "true"}, "prove-2")
    assert pick(doubled.findings, "settings").state is State.FAULT
    assert "PHOENIX_DEDUPLICATES_EVENTS=false" in pick(doubled.findings, "settings").fix

    sandbox.control("POST", "/settings", {"bulk_envelope": "object"})
    refused = await report_of({**settings, "PHOENIX_BULK_EVENTS": "array"}, "prove-3")
    assert pick(refused.findings, "settings").state is State.FAULT
    assert "PHOENIX_BULK_EVENTS=events" in pick(refused.findings, "settings").fix


async def test_the_configured_envelope_is_tried_first(settings: dict[str, str]) -> None:
    """If Phoenix accepts both, the configured value is correct."""
    report = await report_of({**settings, "PHOENIX_BULK_EVENTS": "array"})
    assert found(report)["bulk_events"] == "array"


async def test_tenant_that_is_not_configured(settings: dict[str, str]) -> None:
    """An unknown tenant is a fault that lists those there are."""
    report = await report_of(settings, tenant="nobody")
    assert settings["TENANT_ID"] in pick(report.findings, "tenant").fix
