"""The Operator API of one operator environment: settings, fee schedule, categories, statistics.

`authorize` signs; `core` reads and writes the JSON. A change is never sent again: if its answer is lost, the client
reads the settings to see whether it was made. Source: prediction.md 3.
"""

from typing import Any

from gateway.core.operator_api import (
    Category,
    FeeSchedule,
    OperatorSettings,
    decode_categories,
    decode_settings,
    decode_stats,
    encode_fee_schedule,
    same_schedule,
)
from gateway.errors import Effect, GatewayError, OutcomeUnknown, PhoenixAnswerUnreadable
from gateway.phoenix.answers import Surface
from gateway.phoenix.any_path import PathClient
from gateway.phoenix.auth.authorize import AuthorizeAnywhere
from gateway.phoenix.retry import RetryingSender
from gateway.resilience.deadline import Deadline

BASE_PATH = "/operator/api"
SETTINGS_PATH = f"{BASE_PATH}/settings"
CATEGORIES_PATH = f"{BASE_PATH}/categories"
DEFAULT_STATS_PATH = f"{BASE_PATH}/stats"
"""Inferred: Phoenix documents the statistics, but not their path."""


class OperatorApiClient:
    """One operator environment on the prediction host."""

    def __init__(
        self,
        *,
        retrying: RetryingSender,
        base_url: str,
        authorize: AuthorizeAnywhere,
        stats_path: str = DEFAULT_STATS_PATH,
    ) -> None:
        """Send to `PREDICTION_BASE_URL`, signed as `PREDICTION_OPERATOR_SIGNATURE` says."""
        self._client = PathClient(retrying=retrying, base_url=base_url, surface=Surface.PREDICTION, authorize=authorize)
        self._stats_path = stats_path

    async def settings(self, deadline: Deadline) -> OperatorSettings:
        """Read the settings. Raises: UpstreamFault."""
        return decode_settings((await self._client.call("GET", SETTINGS_PATH, deadline)).body)

    async def categories(self, deadline: Deadline) -> tuple[Category, ...]:
        """List the active categories. Raises: UpstreamFault."""
        return decode_categories((await self._client.call("GET", CATEGORIES_PATH, deadline)).body)

    async def stats(self, deadline: Deadline) -> dict[str, Any]:
        """Read the statistics, whatever members they have. Raises: UpstreamFault."""
        return decode_stats((await self._client.call("GET", self._stats_path, deadline)).body)

    async def set_fee_schedule(self, schedule: FeeSchedule | None, deadline: Deadline) -> OperatorSettings:
        """Set the fee schedule, or clear it (None), which disables trading; return the new settings.

        Raises: OutcomeUnknown if the answer was lost or a 2xx, and the settings do not show the change or cannot be
        read. Other UpstreamFaults.
        """
        try:
            # Keep a third of the time to read the settings if no answer comes.
            sending = deadline.shaved(deadline.remaining() / 3)
            answer = await self._client.call("PATCH", SETTINGS_PATH, sending, body=encode_fee_schedule(schedule))
        except OutcomeUnknown:
            now = await self._settings_or_none(deadline)
            if now is not None and _shows(now, schedule):
                return now
            raise
        now = _settings_in(answer.body) or await self._settings_or_none(deadline)
        if now is not None and _shows(now, schedule):
            return now
        raise OutcomeUnknown(
            "Phoenix accepted the change but does not show it yet. Read the settings.", effect=Effect.DONE
        )

    async def _settings_or_none(self, deadline: Deadline) -> OperatorSettings | None:
        try:
            return await self.settings(deadline)
        except GatewayError:
            return None


def _settings_in(body: bytes) -> OperatorSettings | None:
    """Return the settings in the answer to a change, or None: its body is not documented."""
    try:
        return decode_settings(body)
    except PhoenixAnswerUnreadable:
        return None


def _shows(settings: OperatorSettings, schedule: FeeSchedule | None) -> bool:
    if schedule is None:
        return settings.trading_disabled
    return same_schedule(settings.fee_schedule, schedule)
