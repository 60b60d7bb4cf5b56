"""Changes the URL of a PostgreSQL that is in use: the new one is used once a connection with it works.

A secret is often replaced a moment before the database takes it, and sometimes by a mistake. Until the new URL works,
connections of the known one serve. If the known one does not work either, there is nothing to keep.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from gateway.store.failures import failure_of
from gateway.store.postgres_upgrade import start_background
from gateway.store.postgres_url import address_of
from gateway.telemetry.trouble import TroubleLog

RETRY_S = 1.0
_OPEN_WITHIN_S = 5.0
_FULL = "limit"
"""The server has no free connection. Those of the known URL may be what fills it, and end with the change."""
Parameters = Mapping[str, str]


class UrlChange:
    """The change that is under way, if any."""

    def __init__(self, current: Callable[[], Parameters], is_failing: Callable[[], bool]) -> None:
        """Args: `current` returns the parameters in use; `is_failing` tells whether calls fail with them now."""
        self._current = current
        self._is_failing = is_failing
        self._wanted: Parameters | None = None
        self._task: asyncio.Task[None] | None = None

    def begin(self, parameters: Parameters, use: Callable[[Parameters], None]) -> asyncio.Task[None]:
        """Change to these parameters, in place of any that are not in use yet.

        Args: `use` is called with them once they work. Returns: the task that ends then.
        """
        self._wanted = parameters
        if self._task is None or self._task.done():
            self._task = start_background(self._run(use), "database-url")
        return self._task

    def stop(self) -> None:
        """Keep what is in use."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self, use: Callable[[Parameters], None]) -> None:
        trouble = TroubleLog("new DATABASE_URL", advice="the known one stays in use until the new one works")
        while (wanted := self._wanted) is not None and wanted != self._current():
            error = await _try_to_open(wanted)
            if wanted is not self._wanted:
                continue  # the file was replaced again
            failure = None if error is None else failure_of(error)
            if error is None or failure is None or failure.cause == _FULL or self._is_failing():
                use(wanted)
                break
            trouble.failed(error, trouble=f"{failure.what} ({address_of(wanted)})", code=failure.code)
            await asyncio.sleep(RETRY_S)
        trouble.works()


async def _try_to_open(parameters: Parameters) -> Exception | None:
    """Return why no connection can be opened; None if one can."""
    from gateway.store.postgres_connection import PostgresConnection

    try:
        async with asyncio.timeout(_OPEN_WITHIN_S):
            connection = await PostgresConnection.open(parameters)
            await connection.close()
    except Exception as error:  # noqa: BLE001 - whatever it is, the known URL goes on
        return error
    return None
