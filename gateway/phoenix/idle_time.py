"""How long an idle connection to one host may be used. Rules and numbers only; `connections.py` keeps the connections.

A server may close a connection while a request is on its way to it. Nobody can tell then whether it was read. So a
request that must not be sent twice uses only a connection that has been idle for less time than another one has
outlived, with a margin for the way there and back. Where that is not known yet, it gets a new connection, and idle ones
stay open to be watched. A request that may be repeated uses any connection.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleSettings:
    """Limits for every host."""

    longest_s: float = 4.0
    """Idle time after which a connection is not used again. Common servers close theirs after 5 s."""
    margin_s: float = 0.05
    """How much longer another connection must have been idle without being closed, for a busy machine at either end.
    The time of the way there and back is added."""
    longest_way_s: float = 1.0
    """A measured way there and back counts no more than this."""


class IdleTime:
    """What is known of one host."""

    def __init__(self, settings: IdleSettings | None = None) -> None:
        self._settings = settings or IdleSettings()
        self._outlived_s = 0.0
        self._promised_s = float("inf")
        self._connect_s = float("inf")
        self._answer_s = float("inf")

    def outlived(self, idle_s: float) -> None:
        """A connection has been idle so long, and is open."""
        self._outlived_s = max(self._outlived_s, idle_s)

    def ended(self, idle_s: float) -> None:
        """The server closed a connection that had been idle so long."""
        self._outlived_s = min(self._outlived_s, idle_s)

    def promised(self, idle_s: float) -> None:
        """The server says that it keeps idle connections so long (`Keep-Alive: timeout=`)."""
        self._promised_s = idle_s

    def connected(self, elapsed_s: float) -> None:
        """A connection was made in this time. The shortest one is close to the way there and back."""
        self._connect_s = min(self._connect_s, elapsed_s)

    def answered(self, elapsed_s: float) -> None:
        """A request was answered in this time. It is the better measure where a proxy makes connections short."""
        self._answer_s = min(self._answer_s, elapsed_s)

    def allows(self, idle_s: float, *, is_repeatable: bool) -> bool:
        """Whether a request may be sent on a connection that has been idle so long."""
        way_s = min(max(self._connect_s, self._answer_s), self._settings.longest_way_s)
        margin_s = self._settings.margin_s + way_s
        if idle_s > self._settings.longest_s or idle_s + margin_s > self._promised_s:
            return False
        return is_repeatable or idle_s + margin_s <= self._outlived_s
