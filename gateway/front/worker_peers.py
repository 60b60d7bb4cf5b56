"""What the workers of one group say together: the admin port of any of them answers for all.

Each worker also serves the admin port's paths on a Unix socket of its own, in a folder that only the group can open.
Source: `server/process/workers.py` makes the folder and removes the socket of a worker that was replaced.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import orjson

from gateway.telemetry.page_format import PageFormat
from gateway.telemetry.worker_metrics import merged, merged_messages

ANSWER_WITHIN_S = 2.0
"""A worker that does not answer in this time is left out, and counts as not ready."""


@dataclass(frozen=True, slots=True)
class Answer:
    """HTTP status, body, and what it is."""

    status: int
    body: bytes
    content_type: str


async def ask(socket_path: str, page: str, accept: str = "*/*") -> Answer | None:
    """Return a worker's answer to GET `page`; None when nothing answers in time."""
    timeout = aiohttp.ClientTimeout(total=ANSWER_WITHIN_S)
    try:
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(socket_path), timeout=timeout) as session,
            session.get(f"http://worker{page}", headers={"Accept": accept}) as response,
        ):
            return Answer(response.status, await response.read(), response.headers.get("Content-Type", ""))
    except (aiohttp.ClientError, TimeoutError, OSError):
        return None


class WorkerPeers:
    """All workers of the group, this one included."""

    def __init__(self, folder: Path) -> None:
        """Args: `folder`: with a socket `NUMBER.START.sock` for each worker."""
        self._folder = folder

    async def readiness(self) -> tuple[bool, Mapping[str, Any]]:
        """Return whether all workers are ready, and the report: a service works if it works in all of them.

        Of a service that does not work, the report has the reason of the first worker that gives one.
        """
        answers = await self._ask_all("/readyz")
        reports = {number: orjson.loads(answer.body) for number, answer in answers.items() if answer is not None}
        ready = bool(answers) and all(answer is not None and answer.status == 200 for answer in answers.values())
        services: dict[str, bool] = {}
        switched_off: list[Any] = []
        degraded: dict[str, str] = {}
        reasons: dict[str, Any] = {}
        not_ready: dict[str, None] = {} if all(answers.values()) else {"worker": None}
        for report in reports.values():
            for service, works in report["services"].items():
                services[service] = services.get(service, True) and works
            degraded |= report.get("degraded", {})
            reasons = report.get("reasons", {}) | reasons
            not_ready |= dict.fromkeys(report.get("not_ready", []))
            switched_off += [row for row in report.get("switched_off", []) if row not in switched_off]
        found: dict[str, Any] = {"ready": ready, "services": services}
        found["workers"] = {number: bool(report["ready"]) for number, report in sorted(reports.items())}
        partial = {
            "not_ready": list(not_ready),
            "reasons": reasons,
            "switched_off": switched_off,
            "degraded": degraded,
        }
        return ready, found | {name: rows for name, rows in partial.items() if rows}

    async def metrics(self, kind: PageFormat) -> AsyncIterator[bytes]:
        """Yield the metrics of all workers. Each sample has the label `worker`, so that a restart resets one series."""
        answers = await self._ask_all("/metrics", kind.value)
        pages = {
            number: answer.body
            for number, answer in sorted(answers.items())
            if answer is not None and answer.content_type == kind.value
        }
        if kind is PageFormat.PROTOBUF:
            families = merged_messages(pages)
        else:
            texts = {number: page.decode() for number, page in pages.items()}
            families = (family.encode() for family in merged(texts))
        for family in families:
            yield family
            await asyncio.sleep(0)  # let calls run between two metrics

    async def explain(self, wanted: str) -> list[Mapping[str, Any]]:
        """Return what each worker knows of an id. One that does not answer is named in what was searched."""
        answers = await self._ask_all(f"/explain?id={quote(wanted, safe='')}")
        return [
            {"stories": [], "searched": [{"where": f"worker {number}", "trouble": "no answer"}]}
            if answer is None or answer.status != 200
            else orjson.loads(answer.body)
            for number, answer in sorted(answers.items())
        ]

    async def history(self) -> list[Mapping[str, Any]]:
        """Return the last hour of each worker that answers."""
        answers = await self._ask_all("/history")
        return [orjson.loads(one.body) for one in answers.values() if one is not None and one.status == 200]

    async def _ask_all(self, page: str, accept: str = "*/*") -> Mapping[str, Answer | None]:
        paths = {path.name.partition(".")[0]: str(path) for path in sorted(self._folder.glob("*.sock"))}
        answers = await asyncio.gather(*(ask(path, page, accept) for path in paths.values()))
        return dict(zip(paths, answers, strict=True))
