"""What each service stands on, as checks for the health watch."""

from __future__ import annotations

from gateway.actions.shared.watch_health import Check
from gateway.errors import PhoenixUnavailable
from gateway.keys.platform.platform_keys import KeyUnavailable, PlatformKeys
from gateway.phoenix.answers import Surface, error_of_failure
from gateway.phoenix.http_types import ExchangeFailed, Request, Sender
from gateway.resilience.deadline import Deadline

HEALTH_PATH = "/health"


def reachable(sender: Sender, base_url: str, surface: Surface) -> Check:
    """Pass when the host answers its health route with anything below 500: without credentials more is not known."""

    async def check(deadline: Deadline) -> None:
        request = Request(method="GET", url_base=base_url, raw_path=HEALTH_PATH, headers={"accept": "*/*"})
        try:
            answer = await sender.send(request, deadline, max_answer_bytes=64 * 1024)
        except ExchangeFailed as failure:
            raise error_of_failure(failure, surface, changes=False) from failure
        if answer.status >= 500:
            raise PhoenixUnavailable

    return check


def platform_key_present(keys: PlatformKeys) -> Check:
    """Pass when a platform key is in memory: without one no webhook can be verified."""

    async def check(deadline: Deadline) -> None:
        if keys.current() is None:
            raise KeyUnavailable

    return check
