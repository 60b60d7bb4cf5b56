"""The current channel, and earlier ones whose calls have not ended: new TLS files lead to a new channel."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from phoenix_gateway_client.errors import TlsFilesUnusable
from phoenix_gateway_client.tls import LoadedTls, Tls, load, stamp

Channel = TypeVar("Channel")
LOOK_EVERY_S = 1.0
LOG = logging.getLogger("phoenix_gateway_client")


class Generation(Generic[Channel]):
    """One channel and how many calls use it."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.methods: dict[str, Any] = {}
        self.users = 0
        self.is_current = True


class Generations(Generic[Channel]):
    """Opens a channel at the first call and whenever the files have changed. Calls of the old one end undisturbed.

    Args: `open_channel` gets the files' content, None without TLS. `close` ends a channel that nobody uses.
    """

    def __init__(
        self, tls: Tls | None, open_channel: Callable[[LoadedTls | None], Channel], close: Callable[[Channel], object]
    ) -> None:
        self._tls = tls
        self._open = open_channel
        self._close = close
        self._lock = threading.Lock()
        self._current: Generation[Channel] | None = None
        self._stamp: tuple[object, ...] = ()
        self._look_at = 0.0
        self._loaded: LoadedTls | None = None

    def take(self) -> Generation[Channel]:
        """Return the current channel for one call; give it back with `release`. Raises: TlsFilesUnusable."""
        with self._lock:
            now = time.monotonic()
            if self._current is None or (self._tls is not None and now >= self._look_at):
                self._look_at = now + LOOK_EVERY_S
                self._renew()
            assert self._current is not None
            self._current.users += 1
            return self._current

    def release(self, used: Generation[Channel]) -> None:
        """End one use."""
        with self._lock:
            used.users -= 1
            is_over = not used.is_current and used.users == 0
        if is_over:
            self._close(used.channel)

    def end(self) -> Channel | None:
        """Forget the current channel and return it, to be closed."""
        with self._lock:
            current, self._current = self._current, None
            return None if current is None else current.channel

    def _renew(self) -> None:
        found = () if self._tls is None else stamp(self._tls)
        if self._current is not None and found == self._stamp:
            return
        try:
            loaded = None if self._tls is None else load(self._tls)
        except TlsFilesUnusable as error:
            if self._current is None:
                raise
            LOG.warning("the TLS files changed and cannot be used yet; the old ones stay in use: %s", error)
            return
        if self._tls is not None and self._current is not None and stamp(self._tls) != found:
            return  # being written; the next look sees all of it
        self._stamp = found
        old, changed = self._current, loaded != self._loaded
        if old is not None and not changed:
            return
        self._loaded = loaded
        self._current = Generation(self._open(loaded))
        if old is not None:
            LOG.info("the TLS files changed; new calls use them")
            old.is_current = False
            if old.users == 0:
                self._close(old.channel)
