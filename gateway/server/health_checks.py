"""What each service depends on, as checks for the health watch."""

from __future__ import annotations

from gateway.actions.shared.watch_health import Check
from gateway.keys.platform.platform_keys import PlatformKeys
from gateway.keys.platform.settings import KeyUnavailable
from gateway.phoenix.answers import Surface
from gateway.phoenix.http_types import Sender
from gateway.phoenix.reachability import check_reachable
from gateway.resilience.deadline import Deadline


def reachable(sender: Sender, base_url: str, surface: Surface) -> Check:
    """Pass if the host answers."""

    async def check(deadline: Deadline) -> None:
        await check_reachable(sender, base_url, surface, deadline)

    return check


def platform_key_present(keys: PlatformKeys) -> Check:
    """Pass if a platform key is in memory: without one no webhook can be verified."""

    async def check(deadline: Deadline) -> None:
        if keys.current() is None:
            raise KeyUnavailable

    return check
