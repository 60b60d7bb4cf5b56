"""List and export the evidence of money moves of one operator in one environment."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

from gateway.actions.shared.call import Call
from gateway.actions.shared.contexts import OperatorContext
from gateway.actions.shared.directory import OperatorDirectory
from gateway.actions.shared.page_token import PageToken, decode_page_token, encode_page_token, token_fault
from gateway.core.types import Environment
from gateway.errors import FieldFault, InvalidField
from gateway.evidence.record import Evidence, EvidenceQuery, OperationState, Position
from gateway.evidence.store import WalletStore
from gateway.resilience.clock import Clock
from gateway.resilience.deadline import Deadline

_LIST = "ListWalletEvidence"
_EXPORT = "ExportWalletEvidence"
_PART = 50
_PART_WITHIN_S = 5.0
_LATEST_US = 253_402_300_800_000_000  # the year 10000: no Timestamp is later


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The moves that a caller requests. Times in microseconds: from `start_us`, before `end_us`."""

    operator_code: str
    environment: Environment | None
    start_us: int | None
    end_us: int | None
    player_id: str = ""
    state: OperationState | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One page or part. `next_page_token` "": it is the last one."""

    evidence: tuple[Evidence, ...]
    next_page_token: str
    settled_us: int


class ListEvidence:
    """The actions behind ListWalletEvidence and ExportWalletEvidence."""

    def __init__(self, operators: OperatorDirectory[OperatorContext], store: WalletStore, clock: Clock) -> None:
        self._operators = operators
        self._store = store
        self._clock = clock

    async def page(self, wanted: Wanted, page_size: int, page_token: str, call: Call) -> Listed:
        """Return one page. Raises: InvalidField, OperatorUnknown, StoreUnavailable."""
        query = self._query(wanted, _LIST, page_token, page_size, call)
        found = await self._store.list_evidence(query, call.deadline)
        token = _token(_LIST, query, found.position) if found.more else ""
        return Listed(evidence=found.evidence, next_page_token=token, settled_us=found.settled_us)

    async def export(self, wanted: Wanted, page_token: str, call: Call) -> AsyncIterator[Listed]:
        """Yield all parts. Each part is read after the previous one was consumed.

        A token never points past `settled_us`, so a resumed export repeats some of the newest moves and misses none.
        Raises: InvalidField, OperatorUnknown; StoreUnavailable, also in the middle.
        """
        query = self._query(wanted, _EXPORT, page_token, _PART, call)
        while True:
            within = Deadline.after(_PART_WITHIN_S, self._clock).earlier(call.deadline)
            found = await self._store.list_evidence(query, within)
            settled = Position(received_at_us=found.settled_us, operation_id="")
            place = None if found.position is None else min(found.position, settled)
            yield Listed(
                evidence=found.evidence,
                next_page_token=_token(_EXPORT, query, place),
                settled_us=found.settled_us,
            )
            if not found.more:
                return
            query = _after(query, found.position)

    def _query(self, wanted: Wanted, of: str, page_token: str, limit: int, call: Call) -> EvidenceQuery:
        context = self._operators.resolve(wanted.operator_code, wanted.environment, call)
        _check_times(wanted)
        query = EvidenceQuery(
            operator_code=context.operator_code,
            environment=context.environment,
            start_us=wanted.start_us,
            end_us=wanted.end_us,
            player_id=wanted.player_id,
            state=wanted.state,
            limit=limit,
        )
        return _after(query, _position(of, query, page_token)) if page_token else query


def _check_times(wanted: Wanted) -> None:
    times = (("start_time", wanted.start_us), ("end_time", wanted.end_us))
    faults = [
        FieldFault(field=name, description="must be between the years 1970 and 9999")
        for name, at_us in times
        if at_us is not None and not 0 <= at_us < _LATEST_US
    ]
    if not faults and wanted.start_us is not None and wanted.end_us is not None and wanted.start_us >= wanted.end_us:
        faults.append(FieldFault(field="end_time", description="must be later than start_time"))
    if faults:
        raise InvalidField(faults)


def _after(query: EvidenceQuery, position: Position | None) -> EvidenceQuery:
    return EvidenceQuery(
        operator_code=query.operator_code,
        environment=query.environment,
        start_us=query.start_us,
        end_us=query.end_us,
        player_id=query.player_id,
        state=query.state,
        after=position,
        limit=query.limit,
    )


def _asked(query: EvidenceQuery) -> str:
    """Return the request fields that must not change from page to page."""
    return json.dumps(
        [
            query.operator_code,
            query.environment.value,
            query.start_us,
            query.end_us,
            query.player_id,
            query.state.value if query.state else None,
        ],
        separators=(",", ":"),
    )


def _token(of: str, query: EvidenceQuery, position: Position | None) -> str:
    after = "" if position is None else f"{position.received_at_us}:{position.operation_id}"
    return encode_page_token(PageToken(of=of, tenant_id="", place=_asked(query), after=after))


def _position(of: str, query: EvidenceQuery, text: str) -> Position | None:
    token = decode_page_token(text, of=of, tenant_id="")
    if token.place != _asked(query):
        raise token_fault("belongs to a request with other fields")
    if not token.after:
        return None
    received_at, _, operation_id = token.after.partition(":")
    if not received_at.removeprefix("-").isdecimal() or len(received_at) > 18 or "\x00" in operation_id:
        raise token_fault("is not a token of this method")
    return Position(received_at_us=int(received_at), operation_id=operation_id)
