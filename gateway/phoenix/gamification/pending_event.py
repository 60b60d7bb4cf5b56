"""One event on its way to Phoenix, and how it can end. Values: nothing here changes after it is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from gateway.errors import GatewayError

OrderingKey = tuple[str, str]
"""Board and user. Events with the same key keep their order."""


class PendingEvent(NamedTuple):
    """An event as serialised. A tuple because it is made once per event of a batch, and a frozen dataclass is slower.

    `is_id_given`: the caller chose the id and may have sent it before. `in_doubt`: an earlier send may have reached
    Phoenix. In both cases a 409 means that Phoenix has the event; the gateway's new id cannot be a duplicate.
    """

    event_id: str
    body: bytes
    ordering_key: OrderingKey
    is_id_given: bool = False
    in_doubt: bool = False


class Submitted(NamedTuple):
    """An event that Phoenix accepted, that it already had (`duplicate`), or that is committed here (`queued`).

    `accepted_at`: Unix seconds. A tuple, like PendingEvent.
    """

    event_id: str
    duplicate: bool
    accepted_at: float
    queued: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """An event that was not accepted, or of which nobody knows. `error.effect` says which."""

    event_id: str
    error: GatewayError


Result = Submitted | Failed
