"""Settings of the platform key, and the error when it is not available in time."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.core.types import KeyId
from gateway.errors import PhoenixUnavailable


class KeyUnavailable(PhoenixUnavailable):
    """No platform key, or no fresher one, was available in time. The call itself may be correct."""

    default_message = "Phoenix's platform key was not available in time. Try again later."


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformKeySettings:
    """When to fetch, how long to remember old keys, which keys to trust, how many calls may wait."""

    cooldown_s: float = 2.0
    """Shortest time between the beginnings of two fetches (`PREDICTION_KEY_COOLDOWN`)."""
    overlap_s: float = 600.0
    """How long a replaced key is remembered as retired (`PREDICTION_KEY_OVERLAP`)."""
    refresh_s: float = 60.0
    """Time between background fetches, plus or minus a tenth so that replicas spread out."""
    pins: frozenset[KeyId] = frozenset()
    """If not empty: only these keys are accepted (`PREDICTION_PLATFORM_KEY_SHA256`)."""
    max_waiting: int = 2000
    """Calls that may wait for a fetch. Further calls fail at once."""
    max_waiting_bytes: int = 64 * 1024 * 1024
    """Total size of the bodies that these calls may hold."""
    fetch_timeout_s: float = 3.0
    """Longest fetch. The next one begins only after it ends."""
