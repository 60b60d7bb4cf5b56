"""How long an idle connection to one host may be used. Rules and numbers only; `connections.py` keeps the connections.

A server may close a connection while a request is on its way to it. Nobody can tell then whether it was read. So a
request that must not be sent twice uses a connection only if another one to this host stayed open while it was idle for
longer, by a margin for the way there and back. Until such a time is known, it gets a new connection, and idle ones stay
open to be watched. A request that may be repeated uses any connection.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleSettings:
    """Limits for every host."""

    longest_s: float = 4.0
    """Idle time after which a connection is not used again. Common servers close theirs after 5 s."""
    margin_s: float = 0.1
    """How much longer another connection must have been idle without being closed, for a busy machine at either end.
    The time of the way there and back is added."""
    longest_way_s: float = 1.0
    """A measured way there and back counts no more than this."""
    burst_s: float = 0.1
    """Closes within this time count once: a restart of the server closes all connections."""
    series_s: float = 10.0
    """Closes that follow each other within this time are a habit of the server, if they are not one restart."""
    habit: int = 3
    """So many make a habit."""
    spread_s: float = 0.5
    """Their idle times differ by no more than this. Those of servers that are replaced one by one differ more."""


class IdleTime:
    """What is known of one host."""

    def __init__(self, settings: IdleSettings | None = None) -> None:
        self._settings = settings or IdleSettings()
        self._outlived_s = 0.0
        self._promised_s = float("inf")
        self._connect_s = float("inf")
        self._answer_s = float("inf")
        self._ended_at = self._counted_at = float("-inf")
        self._series = 0
        self._shortest_s = float("inf")
        self._longest_s = 0.0

    def outlived(self, idle_s: float) -> None:
        """A connection has been idle so long, and is open."""
        self._outlived_s = max(self._outlived_s, idle_s)

    def ended(self, idle_s: float, now: float) -> None:
        """The server closed a connection that had been idle so long.

        A connection may outlive others because the server was busy. So while closes are a habit of the server, the
        shortest one counts, and not only what was outlived since the last one.
        """
        self._outlived_s = min(self._outlived_s, idle_s)
        if now - self._ended_at > self._settings.series_s:
            self._series, self._shortest_s, self._longest_s = 0, float("inf"), 0.0
        if self._series == 0 or now - self._counted_at > self._settings.burst_s:
            self._series += 1
            self._counted_at = now
        self._shortest_s = min(self._shortest_s, idle_s)
        self._longest_s = max(self._longest_s, idle_s)
        self._ended_at = now

    def promised(self, idle_s: float) -> None:
        """The server says that it keeps idle connections so long (`Keep-Alive: timeout=`)."""
        self._promised_s = idle_s

    def connected(self, elapsed_s: float) -> None:
        """A connection was made in this time. The shortest one is close to the way there and back."""
        self._connect_s = min(self._connect_s, elapsed_s)

    def answered(self, elapsed_s: float) -> None:
        """A request was answered in this time. It is the better measure where a proxy makes connections short."""
        self._answer_s = min(self._answer_s, elapsed_s)

    def allows(self, idle_s: float, now: float, *, is_repeatable: bool) -> bool:
        """Whether a request may be sent on a connection that has been idle so long."""
        settings = self._settings
        margin_s = settings.margin_s + min(max(self._connect_s, self._answer_s), settings.longest_way_s)
        if idle_s > settings.longest_s or idle_s + margin_s > self._promised_s:
            return False
        if is_repeatable:
            return True
        safe_s = min(self._outlived_s, self._shortest_s) if self._is_habit(now) else self._outlived_s
        return idle_s + margin_s <= safe_s

    def _is_habit(self, now: float) -> bool:
        settings = self._settings
        return (
            self._series >= settings.habit
            and now - self._ended_at <= settings.series_s
            and self._longest_s - self._shortest_s <= settings.spread_s
        )
