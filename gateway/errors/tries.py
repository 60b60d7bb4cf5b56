"""One request to Phoenix, as a failure and a deadline keep it. It is here because errors import no other room."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """One request to Phoenix, for the log and for `explain`.

    `began_at`: seconds of the monotonic clock. `status`: Phoenix's, 0 without an answer; `how` then says how it failed:
    `not_sent`, `own_limit`, `timed_out`, `lost`, `garbled` or `left` (by its caller), and `errno` why, such as
    ECONNREFUSED. `address`: scheme, host and port.
    """

    began_at: float
    took_s: float
    address: str
    status: int = 0
    how: str = ""
    errno: str = ""
