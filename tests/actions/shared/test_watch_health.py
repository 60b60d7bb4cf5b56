"""Which services serve, and what a failing check does to them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping

import pytest

from gateway.actions.shared.watch_health import HealthWatch
from gateway.errors import PhoenixUnavailable, StoreUnavailable
from gateway.resilience.deadline import Deadline
from gateway.telemetry import logs
from tests.manual_clock import ManualClock


class Switch:
    """A check that passes while it is on."""

    def __init__(self, on: bool) -> None:
        self.on = on
        self.asked = 0

    async def __call__(self, deadline: Deadline) -> None:
        self.asked += 1
        if not self.on:
            raise StoreUnavailable


async def test_a_service_without_checks_serves_from_the_start() -> None:
    """Minting depends on no other service."""
    assert HealthWatch({"Tokens": []}, ManualClock()).is_serving("Tokens") is True


async def test_a_service_with_checks_serves_only_once_they_passed() -> None:
    """Nothing is claimed before it was looked at."""
    watch = HealthWatch({"Wallet": [Switch(True)]}, ManualClock())
    before = watch.is_serving("Wallet")
    await watch.check_now()
    assert (False, True) == (before, watch.is_serving("Wallet"))


async def test_trouble_reaches_only_the_services_that_stand_on_it() -> None:
    """The store being down stops wallets, and nothing else."""
    store = Switch(False)
    watch = HealthWatch({"Wallet": [store], "Events": [Switch(True)], "Tokens": []}, ManualClock())
    await watch.check_now()
    assert (False, True, True) == tuple(watch.is_serving(name) for name in ("Wallet", "Events", "Tokens"))


async def test_a_check_that_two_services_share_is_asked_once() -> None:
    """One look a round."""
    shared = Switch(True)
    watch = HealthWatch({"A": [shared], "B": [shared]}, ManualClock())
    await watch.check_now()
    assert 1 == shared.asked


async def test_who_waits_for_a_change_hears_of_it() -> None:
    """Recovery and drain both wake watchers."""
    switch = Switch(False)
    watch = HealthWatch({"A": [switch]}, ManualClock())
    await watch.check_now()
    waiting = asyncio.ensure_future(watch.changed())
    await asyncio.sleep(0)
    switch.on = True
    await watch.check_now()
    await asyncio.wait_for(waiting, 1)
    assert watch.is_serving("A") is True


async def test_draining_stops_serving_permanently() -> None:
    """A load balancer must look elsewhere, whatever the checks find."""
    watch = HealthWatch({"A": [Switch(True)], "B": []}, ManualClock())
    await watch.check_now()
    watch.drain()
    await watch.check_now()
    assert [False, False, False] == [watch.is_serving(name) for name in ("", "A", "B")]


async def test_an_unknown_service_is_none() -> None:
    """The service is unknown."""
    assert HealthWatch({}, ManualClock()).is_serving("Nothing") is None


async def test_the_observer_hears_the_first_round_and_changes_only() -> None:
    """A gauge is set at once, and not at each look."""
    heard: list[Mapping[str, bool]] = []
    switch = Switch(True)
    watch = HealthWatch({"A": [switch]}, ManualClock(), on_change=heard.append)
    await watch.check_now()
    await watch.check_now()
    switch.on = False
    await watch.check_now()
    assert [{"A": True}, {"A": False}] == heard


async def test_each_cause_is_logged_once_with_what_failed(capsys: pytest.CaptureFixture[str]) -> None:
    """Its reason, its class and its code; again when another cause takes its place, and once when it is over."""
    causes: list[Exception | None] = [
        StoreUnavailable("The store is gone."),
        StoreUnavailable("The store is gone."),
        PhoenixUnavailable(metadata={"phoenix_status": "502"}),
        ZeroDivisionError("a text that may hold anything"),
        None,
    ]

    async def check(deadline: Deadline) -> None:
        cause = causes.pop(0)
        if cause is not None:
            raise cause

    watch = HealthWatch({"Wallet": [check]}, ManualClock())
    logs.configure("info", "json")
    while causes:
        await watch.check_now()
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["event"], line.get("reason"), line.get("error_type"), line.get("code")) for line in lines] == [
        ("service does not serve", "STORE_UNAVAILABLE", "StoreUnavailable", ""),
        ("service does not serve", "PHOENIX_UNAVAILABLE", "PhoenixUnavailable", "502"),
        ("service does not serve", "INTERNAL", "ZeroDivisionError", ""),
        ("service serves", None, None, None),
    ]
    assert lines[0]["trouble"] == "The store is gone."
    assert "anything" not in str(lines)


async def test_a_dependency_that_says_that_it_changed_is_looked_at_soon() -> None:
    """Not at the next round only: the state is reported within a second."""
    store = Switch(True)
    watch = HealthWatch({"Wallet": [store]}, ManualClock())
    running = asyncio.create_task(watch.run())
    async with asyncio.timeout(2):
        await watch.changed()
        store.on = False
        watch.look_again()
        await watch.changed()
        assert watch.is_serving("Wallet") is False
        store.on = True
        watch.look_again()
        await watch.changed()
    assert watch.is_serving("Wallet") is True
    running.cancel()


async def test_a_change_between_the_call_and_its_wait_is_not_missed() -> None:
    """A watcher reads the state after it asked for changes, and waits only then."""
    switch = Switch(False)
    watch = HealthWatch({"A": [switch]}, ManualClock())
    await watch.check_now()
    change = watch.changed()
    switch.on = True
    await watch.check_now()
    await asyncio.wait_for(change, 1)
