"""Read the platform key from the file that `PREDICTION_PLATFORM_KEY_FILE` names, as if it were fetched.

So the file has the rules of the well-known route: a webhook is called forged only after a read that began after it
arrived, a replaced key gives `KEY_RETIRED` for a while, and an unusable file leaves the known key in place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from gateway.core.ed25519 import MAX_DOCUMENT_BYTES
from gateway.keys.platform.settings import PlatformKeySettings

COOLDOWN_S = 0.25
"""A read costs less than a fetch, but forged calls must not cause one each."""
REFRESH_S = 2.0


def read_from(path: Path) -> Callable[[float], Awaitable[bytes]]:
    """Return what reads the file in a thread. It raises OSError if the file cannot be read."""

    def read() -> bytes:
        with path.open("rb") as stream:
            return stream.read(MAX_DOCUMENT_BYTES + 1)

    async def fetch(timeout_s: float) -> bytes:
        return await asyncio.to_thread(read)

    return fetch


def file_settings(settings: PlatformKeySettings) -> PlatformKeySettings:
    """Return the settings for a key in a file: looked at often, because each look is cheap."""
    return replace(settings, cooldown_s=min(settings.cooldown_s, COOLDOWN_S), refresh_s=REFRESH_S)
