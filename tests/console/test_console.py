"""The console over HTTP, on a real gateway: who may look, what pages show, what keeps other sites out."""

from __future__ import annotations

import base64
import json
import re
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlencode

import pytest

from gateway.v1 import events_pb2, events_pb2_grpc, wallet_pb2, wallet_pb2_grpc
from tests.console.console_gateway import HOSTILE, Browser, Shown, console_gateway
from tests.gateway_process import GatewayProcess, of_sandbox
from tests.integration.board_reads import make
from tests.integration.event_calls import INGESTION
from tests.integration.test_wallet import reserve
from tests.sandbox_process import SandboxProcess

PAGES = ["", "/wallet", "/wallet/attention", "/wallet/day", "/events", "/keys", "/boards", "/explain"]


@pytest.fixture(scope="module")
def audit_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("audit") / "audit.jsonl"


@pytest.fixture(scope="module")
def gateway(sandbox_process: SandboxProcess, audit_log: Path) -> Iterator[GatewayProcess]:
    with console_gateway(sandbox_process, GATEWAY_AUDIT_FILE=str(audit_log)) as process:
        yield process


@pytest.fixture
def browser(gateway: GatewayProcess) -> Browser:
    return Browser(gateway.admin_address)


class _Loads(HTMLParser):
    """Collects what a page loads and links to."""

    def __init__(self) -> None:
        super().__init__()
        self.urls: list[str] = []
        self.styled: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src", "action") and value is not None:
                self.urls.append(value)
            if name == "style" or name.startswith("on"):
                self.styled.append(f"{tag} {name}")


@pytest.mark.parametrize("path", PAGES)
def test_each_page(browser: Browser, path: str) -> None:
    """It answers, links only within the console, and needs nothing that its content security policy forbids."""
    shown = browser.get(path)
    assert shown.status == 200
    assert "default-src 'none'" in shown.headers["content-security-policy"]
    assert shown.headers["cache-control"] == "no-store"
    loads = _Loads()
    loads.feed(shown.text)
    assert [url for url in loads.urls if not url.startswith(("/console", "#"))] == []
    assert loads.styled == []


def test_an_operation_is_found_and_its_chain_holds(
    browser: Browser, gateway: GatewayProcess, sandbox_process: SandboxProcess
) -> None:
    """By its id and by its idempotency key; its name of a player is text."""
    key = str(uuid.uuid4())
    with gateway.open_channel() as channel:
        wallet = wallet_pb2_grpc.WalletServiceStub(channel)
        answer = wallet.VerifyWallet(reserve(sandbox_process, idempotency_key=key, player=HOSTILE))
        assert answer.verdict == wallet_pb2.WALLET_VERDICT_VERIFIED
    for wanted in (answer.operation_id, answer.operation_id.upper(), f" {key} "):
        found = browser.get(f"/wallet?{urlencode({'id': wanted})}")
        assert f"/operation/{answer.operation_id}?" in found.headers["location"]
    shown = browser.get(f"/wallet/operation/{answer.operation_id}")
    assert HOSTILE not in shown.text
    assert HOSTILE in shown.words
    assert key in shown.words
    assert "Phoenix's webhook was verified" in shown.words
    proof = browser.get(f"/wallet/proof/{answer.operation_id}")
    assert "The evidence holds: 1 records" in proof.words


def test_an_unknown_operation_says_what_was_searched(browser: Browser) -> None:
    """With the operator and environment."""
    shown = browser.get("/wallet?id=nothing")
    assert shown.status == 404
    assert "No operation has the id or idempotency key nothing here" in shown.words


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        ("/wallet?from=yesterday", "from: write the time as"),
        ("/wallet?state=odd", "state: choose one"),
        ("/wallet/day?date=31.1.2026", "date: write the day as"),
    ],
)
def test_bad_input_names_the_field(browser: Browser, query: str, fault: str) -> None:
    """And says how to write it."""
    shown = browser.get(query)
    assert shown.status == 400
    assert fault in shown.words


def test_dead_letters_are_sent_again_only_from_the_console(
    browser: Browser, gateway: GatewayProcess, sandbox_process: SandboxProcess, audit_log: Path
) -> None:
    """With its token, from its own origin; a foreign page changes nothing. The audit log has it, and who did it."""
    event = events_pb2.Event(event_id=f"dead-{uuid.uuid4()}", leaderboard_id="xp", user_id=HOSTILE, score_delta=1)
    refused = {**INGESTION, "kind": "status", "status": 422, "times": 1}
    sandbox_process.control("POST", "/faults", refused)
    with gateway.open_channel() as channel:
        events_pb2_grpc.EventServiceStub(channel).SubmitEvent(
            events_pb2.SubmitEventRequest(event=event, delivery=events_pb2.DELIVERY_DURABLE)
        )
    shown = _until(lambda: browser.get("/events"), event.event_id)
    assert HOSTILE not in shown.text
    token = re.search(r'name="form_token" value="([^"]+)"', shown.text)
    assert token is not None
    fields = {"form_token": token[1], "tenant": "", f"id:{event.event_id}": "yes"}
    for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert browser.post("/events/redrive", fields, **headers).status == 403
    assert browser.post("/events/redrive", {**fields, "form_token": "x"}).status == 403
    assert Browser(gateway.admin_address).post("/events/redrive", fields).status == 403
    done = browser.post("/events/redrive", fields)
    assert "1 of 1 events are queued again" in done.words
    _wait_until(lambda: _redrives(audit_log) == [("console", "OK")])


def test_a_board_with_its_age(browser: Browser, sandbox_process: SandboxProcess) -> None:
    """And alone, as the page reloads it."""
    make(sandbox_process, "console-board", {HOSTILE: 50, "ada": 40})
    shown = browser.get("/boards?board=console-board")
    assert HOSTILE not in shown.text
    assert "live" in shown.words
    assert f"1 {HOSTILE} 50 2 ada 40" in shown.words
    alone = browser.get("/boards/entries?board=console-board")
    assert "<html" not in alone.text
    assert "Top movers since" in alone.words


def test_a_refusal_is_explained_from_its_request_id(browser: Browser) -> None:
    """The page of a refusal links to the story of its call."""
    refused = browser.get("/boards?board=no-such-board")
    assert "PHOENIX_NOT_FOUND" in refused.words
    link = re.search(r'href="/console(/explain\?id=[^"]+)"', refused.text)
    assert link is not None
    story = browser.get(link[1])
    assert "GetLeaderboard: NOT_FOUND PHOENIX_NOT_FOUND" in story.words
    assert "Phoenix answered 404" in story.words


def test_an_unknown_id_says_where_it_was_searched(browser: Browser) -> None:
    """And what it looks like."""
    shown = browser.get(f"/explain?id={uuid.uuid4()}")
    assert shown.status == 404
    assert "It looks like a UUID" in shown.words


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:9464", "10.0.0.1"])
def test_another_name_of_this_machine_sees_nothing(browser: Browser, host: str) -> None:
    """A foreign site may have its name resolve to 127.0.0.1; it gets what any unknown path gets."""
    assert browser.get("", Host=host).status == 404


@pytest.mark.parametrize("path", ["/none", "/wallet/operation", "/../metrics", "/style.css/x"])
def test_no_such_page(browser: Browser, path: str) -> None:
    """As outside the console."""
    assert browser.get(path).status == 404


def test_without_the_setting_there_is_no_console(sandbox_process: SandboxProcess) -> None:
    """As any unknown path."""
    with GatewayProcess(of_sandbox(sandbox_process.urls, sandbox_process.environ)) as process:
        assert Browser(process.admin_address).get("").status == 404


def test_a_development_gateway_asks_for_its_token(sandbox_process: SandboxProcess) -> None:
    """As the password, under any name. A wrong one is asked again, and another name of this machine sees nothing."""
    token = "development-token-4f1dd27c"
    settings = {**of_sandbox(sandbox_process.urls, sandbox_process.environ), "GATEWAY_CONSOLE": "true"}
    process = GatewayProcess({**settings, "GATEWAY_DEV_TOKEN": token})
    process.spawn()
    try:
        browser = Browser(process.admin_address)
        _wait_listening(process.admin_address)
        wrong = (_basic("operations", f"{token}x"), _basic(token, ""), f"Bearer {token}", "Basic ???")
        for headers in ({}, *({"Authorization": one} for one in wrong)):
            asked = browser.get("", **headers)
            assert asked.status == 401
            assert asked.headers["www-authenticate"].startswith("Basic ")
            assert asked.text == ""
        right = {"Authorization": _basic("operations", token)}
        assert "caller local" in browser.get("", **right).words
        assert browser.get("/wallet", **right).status == 200
        assert browser.get("", Host="evil.example", **right).status == 404
        assert token not in process.log_text
    finally:
        process.stop()


def _wait_listening(address: str) -> None:
    host, _, port = address.rpartition(":")

    def listens() -> bool:
        with suppress(OSError):
            socket.create_connection((host, int(port))).close()
            return True
        return False

    _wait_until(listens)


def _basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def _redrives(audit_log: Path) -> list[tuple[str, str]]:
    records = [json.loads(line) for line in audit_log.read_text().splitlines()]
    return [(one["caller"], one["status"]) for one in records if one["method"].endswith("/RedriveDeadLetters")]


def _wait_until(holds: Callable[[], bool]) -> None:
    for _ in range(300):
        if holds():
            return
        time.sleep(0.1)
    raise AssertionError("it did not happen within 30 s")


def _until(look: Callable[[], Shown], text: str) -> Shown:
    _wait_until(lambda: text in look().text)
    return look()
