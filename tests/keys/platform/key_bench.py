"""The platform key of one process, with a source and a clock that the test controls."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from gateway.keys.platform.platform_keys import PlatformKeys
from gateway.keys.platform.settings import PlatformKeySettings
from gateway.resilience.deadline import Deadline
from tests.keys.platform.key_source import KeySource, new_key, until
from tests.manual_clock import ManualClock


class Bench:
    """One PlatformKeys on a manual clock, with its source and its counted events."""

    def __init__(self, settings: PlatformKeySettings | None = None) -> None:
        self.clock = ManualClock()
        self.key = new_key()
        self.source = KeySource(self.key)
        self.events: Counter[str] = Counter()
        self.keys = PlatformKeys(
            fetch=self.source.fetch,
            clock=self.clock,
            settings=settings,
            on_event=lambda name: self.events.update([name]),
        )

    def soon(self, seconds: float = 5.0) -> Deadline:
        return Deadline.after(seconds, self.clock)

    async def tick_until(self, condition: Callable[[], bool]) -> None:
        """Let time pass, a quarter of a second at a step, until the condition holds."""

        def tick() -> bool:
            self.clock.advance(0.25)
            return condition()

        await until(tick)

    async def rotate_to_known(self) -> None:
        """Fetch what the source serves now, past the cooldown."""
        self.clock.advance(2.0)
        await self.keys.fresher(self.soon())
