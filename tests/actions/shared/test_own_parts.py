"""What a part that does not work does to readiness, to services and to the log."""

from __future__ import annotations

import json

import pytest

from gateway.actions.shared.own_parts import Cause, OwnPart, OwnParts
from gateway.actions.shared.watch_health import HealthWatch
from gateway.resilience.deadline import Deadline
from gateway.telemetry import logs
from tests.manual_clock import ManualClock


class Disk:
    """A part that works while it is not full."""

    def __init__(self) -> None:
        self.kind = ""

    async def look(self, deadline: Deadline) -> Cause | None:
        if not self.kind:
            return None
        return Cause(part="disk", kind=self.kind, trouble="the disk is full", advice="free some space")


class Replica:
    """A watch over two services; the first needs the disk."""

    def __init__(self, *, is_needed: bool = True) -> None:
        self.clock, self.disk = ManualClock(), Disk()
        self.not_ready: list[tuple[str, ...]] = []
        part = OwnPart(name="disk", look=self.disk.look, services=frozenset({"a.Wallet"}), is_needed=is_needed)
        self.own = OwnParts([part], self.clock)
        self.watch = HealthWatch(
            {"a.Wallet": [], "a.Tokens": []},
            self.clock,
            own=self.own,
            on_not_ready=lambda causes: self.not_ready.append(tuple(causes)),
        )

    async def looks(self, *, seconds: float) -> None:
        """Look twice a second for so long."""
        for _ in range(int(seconds * 2)):
            self.clock.advance(0.5)
            await self.own.look()

    def serving(self) -> list[bool | None]:
        return [self.watch.is_serving(name) for name in ("", "a.Wallet", "a.Tokens")]


async def test_a_replica_is_not_ready_before_it_has_looked() -> None:
    """Nothing is claimed before it was looked at."""
    replica = Replica()
    assert (replica.watch.not_ready(), replica.serving()[0]) == (("starting",), False)
    await replica.own.look()
    assert (replica.watch.not_ready(), replica.serving()) == ((), [True, True, True])


async def test_the_report_and_the_health_service_agree_and_name_the_cause() -> None:
    """The services that need the part stop serving, and the replica is not ready; the others go on serving."""
    replica = Replica()
    await replica.own.look()
    replica.disk.kind = "disk_full"
    await replica.looks(seconds=2)
    assert replica.serving() == [False, False, True]
    assert replica.watch.readiness() == {
        "ready": False,
        "services": {"a.Wallet": False, "a.Tokens": True},
        "not_ready": ["disk"],
        "reasons": {
            "a.Wallet": {
                "part": "disk",
                "kind": "disk_full",
                "trouble": "the disk is full",
                "advice": "free some space",
            }
        },
    }
    replica.disk.kind = ""
    await replica.looks(seconds=2)
    assert (replica.serving(), replica.not_ready) == ([True, True, True], [(), ("disk",), ()])


async def test_a_passing_failure_changes_nothing() -> None:
    """One look that fails takes no replica out of service."""
    replica = Replica()
    await replica.own.look()
    replica.disk.kind = "disk_full"
    await replica.looks(seconds=0.5)
    replica.disk.kind = ""
    await replica.looks(seconds=1)
    assert replica.not_ready == [()]


async def test_a_part_that_is_not_needed_only_degrades() -> None:
    """The replica is ready, and says what it does without."""
    replica = Replica(is_needed=False)
    replica.disk.kind = "disk_full"
    await replica.own.look()
    assert (replica.serving(), replica.watch.degraded()) == ([True, False, True], {"disk": "disk_full"})


async def test_a_look_that_fails_says_where(capsys: pytest.CaptureFixture[str]) -> None:
    """Its text stays out: it may hold anything."""

    async def look(deadline: Deadline) -> Cause | None:
        raise ValueError("a secret")

    logs.configure("info", "json")
    own = OwnParts([OwnPart(name="odd", look=look, services=frozenset({"a.Wallet"}))], ManualClock())
    await own.look()
    assert own.needed_but_down == ("odd",)
    assert "secret" not in capsys.readouterr().err


async def test_each_change_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """When it begins, when the cause changes, and when it is over."""
    logs.configure("info", "json")
    replica = Replica()
    await replica.own.look()
    for kind in ("disk_full", "quota", ""):
        replica.disk.kind = kind
        await replica.looks(seconds=3)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["event"], line.get("state"), line.get("kind"), line.get("service")) for line in lines] == [
        ("a part of this replica does not work", "not ready", "disk_full", "Wallet"),
        ("a part of this replica does not work", "not ready", "quota", "Wallet"),
        ("a part of this replica works again", None, None, None),
    ]
