"""The Operator API of one operator environment: settings, fee schedule, categories, statistics.

The signature comes from `authorize`; JSON is core's. A change is never sent twice by itself: when its answer was lost,
the settings are read to see. Source: prediction.md 3.
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
from gateway.errors import GatewayError, OutcomeUnknown, PhoenixAnswerUnreadable, PhoenixUnavailable
from gateway.phoenix.answers import Surface
from gateway.phoenix.any_path import Authorize, PathClient
from gateway.phoenix.retry import RetryingSender
from gateway.resilience.deadline import Deadline

BASE_PATH = "/operator/api"
SETTINGS_PATH = f"{BASE_PATH}/settings"
CATEGORIES_PATH = f"{BASE_PATH}/categories"
DEFAULT_STATS_PATH = f"{BASE_PATH}/stats"
"""Inferred: the vendor names the statistics, not their path."""


class OperatorApiClient:
    """One operator environment on the prediction host."""

    def __init__(
        self, *, courier: RetryingSender, base_url: str, authorize: Authorize, stats_path: str = DEFAULT_STATS_PATH
    ) -> None:
        """Send to `PREDICTION_BASE_URL`, signed as `PREDICTION_OPERATOR_SIGNATURE` says."""
        self._client = PathClient(courier=courier, base_url=base_url, surface=Surface.PREDICTION, authorize=authorize)
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
        """Set the fee schedule, or clear it (None), which disables trading; return the settings as they are then.

        Raises: OutcomeUnknown when the answer was lost and the settings do not show the change, or cannot be read;
        PhoenixAnswerUnreadable when Phoenix said yes and holds another schedule; other UpstreamFaults.
        """
        try:
            # A third of the time is kept for looking, should the answer not come.
            sending = deadline.shaved(deadline.remaining() / 3)
            answer = await self._client.call("PATCH", SETTINGS_PATH, sending, body=encode_fee_schedule(schedule))
        except (OutcomeUnknown, PhoenixUnavailable) as fault:
            # A 503 says that nothing was done and keeps its retry hint; any other 5xx may have acted.
            if isinstance(fault, PhoenixUnavailable) and fault.retry_after_s is not None:
                raise
            now = await self._look(deadline)
            if now is not None and _shows(now, schedule):
                return now
            raise OutcomeUnknown(metadata=fault.metadata) from fault
        try:
            now = decode_settings(answer.body)
        except PhoenixAnswerUnreadable:
            now = await self.settings(deadline)
        if not _shows(now, schedule):
            raise PhoenixAnswerUnreadable("Phoenix took the change but tells another fee schedule. Read the settings.")
        return now

    async def _look(self, deadline: Deadline) -> OperatorSettings | None:
        try:
            return await self.settings(deadline)
        except GatewayError:
            return None


def _shows(settings: OperatorSettings, schedule: FeeSchedule | None) -> bool:
    if schedule is None:
        return settings.trading_disabled
    return same_schedule(settings.fee_schedule, schedule)
