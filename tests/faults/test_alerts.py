"""The shipped alerts in a real Prometheus that scrapes a real gateway under faults: each fires, and stops afterwards.

In promtool's time only (tests/deploy/test_alerts.py), because they cannot be provoked here within seconds: those of
UNIT_TESTED. The tests run in their order over one gateway; the dashboard comes last, when everything has data.
"""

from __future__ import annotations

import contextlib
import os
import resource
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import grpc
import pytest
import redis

from tests.deploy import alert_rules
from tests.deploy.alert_rules import PREFIX
from tests.faults.alert_scene import NEW_VERSION, Scene, scene
from tests.faults.degraded_faults import PipeReader
from tests.integration.test_wallet import outcome
from tests.postgres_process import PostgresProcess
from tests.prometheus_process import PrometheusMissing
from tests.redis_process import RedisMissing
from tests.sandbox_process import SandboxProcess

FIRES_WITHIN_S, STOPS_WITHIN_S = 60.0, 90.0
pytestmark = pytest.mark.timeout(300)
UNIT_TESTED = {
    "InternalErrors",
    "Overloaded",
    "EventsUnclear",
    "ChainWaiting",
    "ChainBroken",
    "PlatformKeyOutdated",
    "TracesLost",
    "ClockStepped",
    "PolicyRefused",
    "DescriptorsShort",
}


@pytest.fixture(scope="module")
def running(postgres_server: PostgresProcess) -> Iterator[Scene]:
    try:
        with SandboxProcess() as sandbox, scene(sandbox, postgres_server) as made:
            yield made
    except (PrometheusMissing, RedisMissing) as missing:
        pytest.skip(str(missing))


def nothing(_: Scene) -> None:
    """The fault alone is enough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """What makes alerts fire. `act` is repeated until they do; `lasts` surrounds it; `began`: before the test."""

    alerts: frozenset[str]
    act: Callable[[Scene], object] = nothing
    lasts: Callable[[Scene], Any] = lambda running: contextlib.nullcontext()
    began: bool = False


@contextmanager
def near_end(running: Scene) -> Iterator[None]:
    """A certificate that ends in two days, until it is replaced."""
    yield
    running.write_certificate(timedelta(days=20))
    running.connect()


@contextmanager
def old_key(running: Scene) -> Iterator[None]:
    """A key from 2020, until there is a newer one."""
    yield
    new = running.cache_keys / ".new"
    new.touch(mode=0o600)
    new.write_text((running.cache_keys / "2020-01-01T0000Z").read_text())
    new.rename(running.cache_keys / NEW_VERSION)


@contextmanager
def unusable_key(running: Scene) -> Iterator[None]:
    """A version that is no key."""
    path = running.cache_keys / "2099-01-01T0000Z"
    path.touch(mode=0o600)
    path.write_text("half")
    yield
    path.unlink()


@contextmanager
def no_secret(running: Scene) -> Iterator[None]:
    """The command of the store fails."""
    away = running.secret.rename(running.folder / "away")
    yield
    away.rename(running.secret)


def signer(fault: str) -> Callable[[Scene], Any]:
    """A fault of the store that has the launch key."""

    @contextmanager
    def lasts(running: Scene) -> Iterator[None]:
        begin, end = running.signer.faults[fault]
        begin()
        yield
        end()

    return lasts


@contextmanager
def no_audit_reader(running: Scene) -> Iterator[None]:
    """Nobody reads the pipe of the audit log."""
    running.audit_reader.close()
    yield
    running.audit_reader = PipeReader(running.audit_pipe)


@contextmanager
def no_redis(running: Scene) -> Iterator[None]:
    """Redis hangs."""
    running.redis.pause()
    yield
    running.redis.resume()


@contextmanager
def no_postgres(running: Scene) -> Iterator[None]:
    """The database is gone."""
    running.postgres.kill()
    yield
    running.postgres.restart()
    running.gateway.wait_ready(within_s=60)


@contextmanager
def no_log(running: Scene) -> Iterator[None]:
    """The gateway's files, of which it writes its log only, cannot grow: what a full disk does."""
    before = resource.prlimit(running.gateway.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(running.gateway.pid, resource.RLIMIT_FSIZE, (1, before[1]))
    yield
    resource.prlimit(running.gateway.pid, resource.RLIMIT_FSIZE, before)


@contextmanager
def switched_off(running: Scene) -> Iterator[None]:
    """A method is off."""
    running.command("disable", "MintAdminJWT", "--reason", "a test")
    yield
    running.command("enable", "MintAdminJWT", "--reason", "a test")


@contextmanager
def no_gateway(running: Scene) -> Iterator[None]:
    """The only replica is stopped, and started again."""
    running.gateway.stop()
    yield
    running.gateway.start()


@contextmanager
def old_event(running: Scene) -> Iterator[None]:
    """A durable event that Phoenix does not take."""
    with running.phoenix("ingestion", kind="status", status=503):
        running.submit(durable=True)
        yield


def poison_redis(running: Scene) -> None:
    """Change whatever gateways have written, such as the list of what is switched off, which they read every second."""
    with redis.Redis.from_url(running.redis.url) as client:
        for name in client.scan_iter():
            if client.type(name) == b"string":
                client.set(name, os.urandom(40), keepttl=True)


def same_body(operation: str) -> Callable[[Scene], None]:
    """Send one body under two keys."""

    def act(running: Scene) -> None:
        body = {
            "operation": operation,
            "player": {"external_id": str(uuid.uuid4())},
            "currency_code": "EUR",
            "amount": {"value": "5.00"},
        }
        for _ in range(2):
            running.verify(body=body)

    return act


def unreadable(running: Scene) -> None:
    """A credit whose player is where the gateway does not look."""
    body = {"operation": "credit_cash", "customer": {"id": "p"}, "currency_code": "EUR", "amount": {"value": "12.50"}}
    running.verify(body=body)


def contradict(running: Scene) -> None:
    """Record two outcomes of one move."""
    claimed = running.verify()
    assert claimed is not None
    running.wallet.RecordWalletOutcome(outcome(claimed))
    with pytest.raises(grpc.RpcError):
        running.wallet.RecordWalletOutcome(outcome(claimed, response_status=422))


_ABANDONED = {
    "idempotency_key": str(uuid.uuid4()),
    "body": {
        "operation": "credit_cash",
        "player": {"external_id": str(uuid.uuid4())},
        "currency_code": "EUR",
        "amount": {"value": "7.00"},
        "references": {"claim_side": "yes"},
    },
}


def abandon(running: Scene) -> None:
    """Claim the same move again and again without an outcome."""
    running.verify(**_ABANDONED)


def phoenix(surface: str, **fault: Any) -> Callable[[Scene], Any]:
    """A fault of Phoenix."""
    return lambda running: running.phoenix(surface, **fault)


def submit_some(running: Scene) -> None:
    """Enough for a circuit to open."""
    for _ in range(10):
        running.submit()


_KEY = {"path_prefix": "/.well-known"}
TROUBLES: Mapping[str, Trouble] = {
    "certificate": Trouble(
        alerts=frozenset({"CertificateExpiresSoon", "CertificateExpires"}), lasts=near_end, began=True
    ),
    "old key": Trouble(alerts=frozenset({"KeyRotationDue"}), lasts=old_key, began=True),
    "unusable key": Trouble(alerts=frozenset({"SecretNotUsed"}), lasts=unusable_key),
    "secret store": Trouble(alerts=frozenset({"SecretStoreDown"}), lasts=no_secret),
    "signer gone": Trouble(alerts=frozenset({"SignerFails", "SignerUnlisted"}), lasts=signer("killed"), act=Scene.mint),
    "forged signature": Trouble(alerts=frozenset({"SignerForged"}), lasts=signer("wrong_key"), act=Scene.mint),
    "credentials": Trouble(
        alerts=frozenset({"CredentialsRejected"}),
        lasts=phoenix("ingestion", kind="status", status=401),
        act=Scene.submit,
    ),
    "forged webhooks": Trouble(
        alerts=frozenset({"BadSignatures", "PlatformKeyRefetched"}), act=lambda running: running.verify(forge="bit")
    ),
    "key server": Trouble(
        alerts=frozenset({"PlatformKeyFetchFails"}),
        lasts=phoenix("prediction", kind="status", status=503, **_KEY),
        act=Scene.refresh_platform_key,
    ),
    "garbage for a key": Trouble(
        alerts=frozenset({"PlatformKeyRefused"}),
        lasts=phoenix("prediction", kind="status", status=200, body="<html>hello</html>", **_KEY),
        act=Scene.refresh_platform_key,
    ),
    "replayed body": Trouble(alerts=frozenset({"SuspectReplays"}), act=same_body("credit_cash")),
    "held move": Trouble(alerts=frozenset({"MovesHeld"}), act=same_body("release_cash")),
    "unreadable webhook": Trouble(alerts=frozenset({"UnreadableWebhooks"}), act=unreadable),
    "two outcomes": Trouble(alerts=frozenset({"OutcomesContradict"}), act=contradict),
    "abandoned move": Trouble(alerts=frozenset({"MovesReclaimed"}), act=abandon),
    "dead letter": Trouble(
        alerts=frozenset({"DeadLetters"}),
        lasts=phoenix("ingestion", kind="status", status=400),
        act=lambda running: running.submit(durable=True),
    ),
    "waiting event": Trouble(alerts=frozenset({"QueueOld"}), lasts=old_event),
    "ingestion down": Trouble(
        alerts=frozenset({"CircuitOpen", "ErrorBudgetBurnsFast", "ErrorBudgetBurnsSlowly"}),
        lasts=phoenix("ingestion", kind="status", status=503),
        act=submit_some,
    ),
    "poisoned Redis": Trouble(alerts=frozenset({"CacheEntriesRefused"}), lasts=switched_off, act=poison_redis),
    "frozen Redis": Trouble(alerts=frozenset({"RedisDown"}), lasts=no_redis, act=Scene.read_rank),
    "audit log": Trouble(alerts=frozenset({"AuditLost"}), lasts=no_audit_reader, act=Scene.submit),
    "log": Trouble(alerts=frozenset({"LogLinesLost"}), lasts=no_log, act=Scene.submit),
    "switch": Trouble(alerts=frozenset({"SwitchedOff"}), lasts=switched_off),
    "database": Trouble(
        alerts=frozenset({"StoreErrors", "NotReady", "ServiceNotServing"}), lasts=no_postgres, act=Scene.verify
    ),
    "no gateway": Trouble(alerts=frozenset({"ReplicaDown", "Absent"}), lasts=no_gateway),
}


def test_every_alert_is_provoked_or_unit_tested() -> None:
    """An alert is in one of the lists."""
    provoked = {name for trouble in TROUBLES.values() for name in trouble.alerts}
    assert provoked & UNIT_TESTED == set()
    assert {PREFIX + name for name in provoked | UNIT_TESTED} == alert_rules.alerts().keys()


@pytest.mark.faults
@pytest.mark.parametrize("name", TROUBLES)
def test_alerts_fire_and_stop(name: str, running: Scene) -> None:
    """While the trouble lasts, all of its alerts fire at some time, with their severity; after its end none does."""
    trouble, prometheus = TROUBLES[name], running.prometheus
    wanted = {PREFIX + alert for alert in trouble.alerts}
    if not trouble.began:
        prometheus.wait(lambda: not wanted & prometheus.firing().keys(), STOPS_WITHIN_S, prometheus.firing)
    fired: dict[str, str] = {}

    def have_fired() -> bool:
        trouble.act(running)
        fired.update(prometheus.firing())
        return wanted <= fired.keys()

    with trouble.lasts(running):
        prometheus.wait(have_fired, FIRES_WITHIN_S, lambda: {"fired": sorted(fired), "wanted": sorted(wanted)})
    prometheus.wait(lambda: not wanted & prometheus.firing().keys(), STOPS_WITHIN_S, prometheus.firing)
    severities = {alert: rule["labels"]["severity"] for alert, rule in alert_rules.alerts().items()}
    assert {alert: fired[alert] for alert in wanted} == {alert: severities[alert] for alert in wanted}


@pytest.mark.faults
@pytest.mark.parametrize("native", [False, True], ids=["classic buckets", "native histograms"])
def test_each_panel_of_the_dashboard_has_data(running: Scene, native: bool) -> None:
    """Every query, as Grafana sends it, over what the gateway has gone through and does now."""
    prometheus = running.native if native else running.prometheus

    def empty() -> list[tuple[str, str]]:
        return [
            (title, query)
            for title, query in alert_rules.panel_queries()
            if not prometheus.query(alert_rules.filled(query, "30m"))
        ]

    def have_data() -> bool:
        for act in (Scene.verify, Scene.submit, Scene.read_rank):
            act(running)
        return not empty()

    prometheus.wait(have_data, FIRES_WITHIN_S, empty)
