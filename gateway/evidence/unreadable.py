"""Signed webhooks that the gateway could not read: keep them for a person, and give the answer that the person settled.

One row per body and idempotency key, so that Phoenix's retries add no rows. A settled webhook must never become a move:
settling marks the body as used, so a later claim of it is flagged (`suspect_replay`), and the action looks here again.
These rows are not part of the evidence chain; the audit log records who settled what.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
import uuid_utils

from gateway.core.types import Environment, HexStr, KeyId, OperatorCode
from gateway.core.wallet_operation import OperationKind
from gateway.errors import DeadlineTooShort, GatewayError, OutcomeDiffers, PhoenixNotFound
from gateway.evidence.record import RecordedResponse
from gateway.evidence.settlements import CALL_COLUMNS, RESPONSE_COLUMNS, settled_response, settlements_of
from gateway.evidence.tables import bodies, operations, unreadable
from gateway.evidence.unreadable_webhook import Settlement, UnreadableCall, UnreadablePage, UnreadableWebhook
from gateway.resilience.clock import Clock
from gateway.resilience.deadline import Deadline
from gateway.store.database import Database
from gateway.store.schema import insert_into

NO_SUCH_WEBHOOK = "No such unreadable webhook exists. Check webhook_id and request_body_sha256."
MOST_KEYS = 100
"""Rows per body. The key is not signed, so a captured body could come with any number of keys."""
_WRITE_EVERY_S = 1.0
_REMEMBERED = 1024
_PAGE_BYTES = 2 * 1024 * 1024
_OVERHEAD_BYTES = 2048
_t = unreadable.c


class UnreadableWebhooks:
    """The stored webhooks. Every method raises StoreUnavailable, and DeadlineTooShort if no time is left."""

    def __init__(
        self, database: Database, clock: Clock, new_id: Callable[[], str] = lambda: str(uuid_utils.uuid7())
    ) -> None:
        self._database = database
        self._clock = clock
        self._new_id = new_id
        self._written_at: OrderedDict[str, float] = OrderedDict()

    async def keep(self, call: UnreadableCall, deadline: Deadline) -> bool:
        """Store a webhook, or count it again; return whether it is new.

        A body is written at most once per second and process: a captured body that is sent again and again must not
        keep claims from the database.
        """
        now = self._clock.monotonic()
        if now - self._written_at.get(call.body_sha256, -_WRITE_EVERY_S) < _WRITE_EVERY_S:
            return False
        webhook_id = self._new_id()
        is_new = await self._database.write(lambda connection, _: _keep(connection, call, webhook_id), _left(deadline))
        self._written_at[call.body_sha256] = now
        while len(self._written_at) > _REMEMBERED:
            self._written_at.popitem(last=False)
        return is_new

    async def settlement(
        self,
        operator_code: OperatorCode,
        environment: Environment,
        body_sha256: HexStr,
        idempotency_key: str,
        deadline: Deadline,
    ) -> RecordedResponse | None:
        """Return what Phoenix is answered to this body under this key; None if nobody settled it."""
        call = (body_sha256, operator_code, environment.value, idempotency_key)
        return await self._database.read(
            lambda connection, _: settlements_of(connection, [call]).get(call), _left(deadline)
        )

    async def of_key(
        self, operator_code: OperatorCode, environment: Environment, idempotency_key: str, deadline: Deadline
    ) -> list[RecordedResponse | None]:
        """Return the answer to each unreadable call with this key that may be a move; None: not settled."""
        query = sa.select(*RESPONSE_COLUMNS).where(
            _t.idempotency_key == idempotency_key,
            _t.operator_code == operator_code,
            _t.environment == environment.value,
            _t.route.in_(("", OperationKind.MOVE.value)),
        )
        return await self._database.read(
            lambda connection, _: [settled_response(row) for row in connection.execute(query)], _left(deadline)
        )

    async def page(
        self,
        operator_code: OperatorCode,
        environment: Environment,
        *,
        include_settled: bool,
        after: int,
        limit: int,
        deadline: Deadline,
    ) -> UnreadablePage:
        """Return the webhooks after a place. Those that were read and claimed later are left out."""
        query = sa.select(unreadable).where(
            _t.operator_code == operator_code,
            _t.environment == environment.value,
            _t.sequence > after,
            ~_is_claimed(),
        )
        if not include_settled:
            query = query.where(_t.response_status.is_(None))
        query = query.order_by(_t.sequence).limit(limit + 1)

        def work(connection: sa.Connection, _: int) -> UnreadablePage:
            found: list[UnreadableWebhook] = []
            size, place = 0, after
            for row in connection.execute(query):
                size += len(row.body) + len(row.response_body or b"") + _OVERHEAD_BYTES
                if found and (len(found) == limit or size > _PAGE_BYTES):
                    return UnreadablePage(webhooks=tuple(found), after=place)
                found.append(_webhook(row))
                place = row.sequence
            return UnreadablePage(webhooks=tuple(found), after=None)

        return await self._database.read(work, _left(deadline))

    async def settle(
        self,
        operator_code: OperatorCode,
        environment: Environment,
        webhook_id: str,
        body_sha256: str,
        settlement: Settlement,
        deadline: Deadline,
    ) -> UnreadableWebhook:
        """Record what Phoenix is answered from now on. The same settlement is accepted again.

        Raises: PhoenixNotFound, also if the body is another one; OutcomeDiffers if it was settled otherwise, or if its
        move was claimed.
        """
        found = sa.select(unreadable).where(
            _t.webhook_id == webhook_id,
            _t.body_sha256 == body_sha256,
            _t.operator_code == operator_code,
            _t.environment == environment.value,
        )

        def work(connection: sa.Connection, now_us: int) -> UnreadableWebhook | GatewayError:
            row = connection.execute(found).one_or_none()
            if row is None:
                return PhoenixNotFound(NO_SUCH_WEBHOOK)
            before = settled_response(row)
            response = settlement.response
            if before is not None:
                if (before.status, before.body) != (response.status, response.body):
                    return OutcomeDiffers()
                return _webhook(row)
            if connection.execute(sa.select(_is_claimed()).where(_t.webhook_id == webhook_id)).scalar_one():
                return OutcomeDiffers()
            connection.execute(
                insert_into(connection, bodies).on_conflict_do_nothing(
                    index_elements=("body_sha256", "operator_code", "environment")
                ),
                {
                    "body_sha256": body_sha256,
                    "operator_code": operator_code,
                    "environment": environment.value,
                    "first_operation_id": webhook_id,
                },
            )
            connection.execute(
                sa.update(unreadable)
                .where(_t.webhook_id == webhook_id)
                .values(
                    response_status=response.status,
                    response_body=response.body,
                    settled_at_us=now_us,
                    settled_by=settlement.caller,
                    note=settlement.note,
                )
            )
            return _webhook(connection.execute(found).one())

        # Exclusive, so that no claim of this body happens between the check and the mark.
        settled = await self._database.write(work, _left(deadline), exclusive=True)
        if isinstance(settled, GatewayError):
            raise settled
        return settled


def _left(deadline: Deadline) -> float:
    remaining = deadline.remaining()
    if remaining <= 0:
        raise DeadlineTooShort
    return remaining


def _is(scope: tuple[str, str, str, str]) -> list[sa.ColumnElement[bool]]:
    return [_t[name] == value for name, value in zip(CALL_COLUMNS, scope, strict=True)]


def _is_claimed() -> sa.Exists:
    """Whether the gateway read the webhook later, and claimed its move."""
    moves = operations.c
    return sa.exists().where(
        moves.idempotency_key == _t.idempotency_key,
        moves.operator_code == _t.operator_code,
        moves.environment == _t.environment,
        moves.body_sha256 == _t.body_sha256,
    )


def _keep(connection: sa.Connection, call: UnreadableCall, webhook_id: str) -> bool:
    scope = (call.body_sha256, call.operator_code, call.environment.value, call.idempotency_key)
    again = connection.execute(
        sa.update(unreadable)
        .where(*_is(scope))
        .values(last_received_at_us=call.received_at_us, call_count=_t.call_count + 1, trouble=call.trouble)
    )
    if again.rowcount:
        return False
    keys = connection.execute(
        sa.select(sa.func.count()).select_from(unreadable).where(_t.body_sha256 == call.body_sha256)
    ).scalar_one()
    if keys >= MOST_KEYS:
        return False
    connection.execute(
        insert_into(connection, unreadable).on_conflict_do_nothing(index_elements=CALL_COLUMNS),
        {
            "webhook_id": webhook_id,
            **dict(zip(CALL_COLUMNS, scope, strict=True)),
            "route": call.route.value if call.route else "",
            "trouble": call.trouble,
            "signature": call.signature,
            "key_id": call.key_id,
            "request_id": call.request_id,
            "first_received_at_us": call.received_at_us,
            "last_received_at_us": call.received_at_us,
            "call_count": 1,
            "body": call.body,
        },
    )
    return True


def _webhook(row: sa.Row[*tuple[Any, ...]]) -> UnreadableWebhook:
    response = settled_response(row)
    return UnreadableWebhook(
        webhook_id=row.webhook_id,
        call=UnreadableCall(
            operator_code=OperatorCode(row.operator_code),
            environment=Environment(row.environment),
            idempotency_key=row.idempotency_key,
            body_sha256=HexStr(row.body_sha256),
            body=bytes(row.body),
            route=OperationKind(row.route) if row.route else None,
            trouble=row.trouble,
            signature=row.signature,
            key_id=KeyId(row.key_id),
            request_id=row.request_id,
            received_at_us=row.first_received_at_us,
        ),
        last_received_at_us=row.last_received_at_us,
        count=row.call_count,
        settlement=None
        if response is None
        else Settlement(response=response, note=row.note or "", caller=row.settled_by or ""),
    )
