"""The page of metrics on the admin port: of this process, or of all workers, in the format that the scraper takes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from gateway.front.worker_peers import WorkerPeers
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.page_format import OPEN_END, PageFormat, format_of


class MetricsPage:
    """Answers /metrics."""

    def __init__(
        self,
        metrics: Metrics,
        is_ready: Callable[[], Mapping[str, Any]],
        peers: WorkerPeers | None,
        *,
        has_traces: bool,
    ) -> None:
        """Args: `peers`: the workers that answer together; `has_traces`: so metrics have exemplars."""
        self._metrics = metrics
        self._is_ready = is_ready
        self._peers = peers
        self._has_traces = has_traces

    async def answer(self, accept: str) -> tuple[int, str, bytes]:
        """Return status, Content-Type and body. Args: `accept`: the Accept headers, separated by commas."""
        kind = format_of(accept, has_exemplars=self._has_traces)
        parts: list[bytes] = []
        if self._peers is not None:
            parts = [part async for part in self._peers.metrics(kind)]
        else:
            self._metrics.services_serving(self._is_ready()["services"])
            for part in self._metrics.page(kind):
                parts.append(part)
                await asyncio.sleep(0)  # let calls run between two metrics
        if kind is PageFormat.OPEN:
            parts.append(OPEN_END)
        return 200, kind.value, b"".join(parts)
