"""Answers Phoenix's wallet webhooks: the gateway verifies, the ledger moves money, the gateway stores the evidence.

Phoenix takes 400, 401, 403 and 422 as final. So only the gateway and the ledger decide on a final answer. Everything
else becomes 503: Phoenix tries again with the same key, and the money moves once.
Source: WalletService in docs/api.md; Wallet Operations and Errors, in Phoenix's documentation.
"""

from __future__ import annotations

import asyncio
import json
import logging
from decimal import Decimal
from hashlib import sha256

from aiohttp import web
from google.protobuf.timestamp_pb2 import Timestamp

from examples.wallet.ledger import Entry, Ledger
from examples.wallet.rules import Move, Undecided
from phoenix_gateway_client import AsyncGateway, Reply, WalletCall, v1

_LOG = logging.getLogger("wallet")


class Webhooks:
    """The handler of all webhooks. `environment` is only for the log: the gateway knows that of this caller."""

    def __init__(self, gateway: AsyncGateway, ledger: Ledger, environment: str) -> None:
        self._gateway = gateway
        self._ledger = ledger
        self._environment = environment

    async def answer(self, request: web.BaseRequest) -> web.Response:
        """Answer one webhook, at whatever path: the gateway decides which route it is. Any error becomes 503."""
        call = await self._gateway.verify_wallet(request)
        try:
            reply = call.reply or await self._handle(call)
        except Exception as error:  # noqa: BLE001 - no error of the wallet may become a final refusal
            reply = Reply.of_failure(error)
        problem = str(reply.error) if isinstance(reply.error, Undecided) else type(reply.error).__name__
        found = call.found
        _LOG.info(
            "request_id=%r environment=%s verdict=%s disposition=%s status=%d operation_id=%s suspect=%s problem=%r",
            request.headers.get("x-request-id", "")[:64],
            self._environment,
            *(found.verdict, found.disposition, reply.status, found.operation_id, found.suspect_replay),
            problem if reply.error is not None else "",
        )
        return web.Response(status=reply.status, body=reply.body, headers=dict(reply.headers))

    async def _handle(self, call: WalletCall) -> Reply:
        """Do what the gateway's disposition says. A reply of the gateway was sent already: refusals, replays, 409."""
        found = call.found
        # 1. Execute a move. After a crash, the ledger may have the entry of an earlier attempt and returns it.
        if call.is_move:
            move = _move_of(found.operation)
            entry = await asyncio.to_thread(self._ledger.move, move)
            return await self._record(call, entry)  # before the answer to Phoenix
        # 2. Answer requests that move no money.
        if found.disposition == v1.WALLET_DISPOSITION_REPLAY:
            return await self._recorded(found, found.operation.operation)
        if found.disposition == v1.WALLET_DISPOSITION_STATUS_PROBE:
            return await self._probe(found)
        if found.disposition == v1.WALLET_DISPOSITION_NOT_A_MOVE:
            return await self._balance(found.operation)
        raise Undecided("the disposition is unknown")

    async def _record(self, call: WalletCall, entry: Entry) -> Reply:
        """Record the outcome at the gateway. If a newer attempt exists, this is STALE_ATTEMPT, and Phoenix gets 503."""
        process_time = Timestamp()
        process_time.FromMicroseconds(entry.processed_at_us)
        return await self._gateway.record_wallet_outcome(
            call,
            entry.status,
            entry.body,
            operator_transaction_id=entry.transaction_id,
            operator_reservation_id=entry.reservation_id,
            available_balance=v1.Money(amount=entry.available, currency_code=entry.currency),
            reserved_balance=v1.Money(amount=entry.reserved, currency_code=entry.currency),
            process_time=process_time,
        )

    async def _recorded(self, found: v1.VerifyWalletResponse, operation: str) -> Reply:
        """Return the recorded response: the gateway's copy, or the ledger's if the gateway stores only the hash."""
        recorded = found.recorded_response
        if recorded.HasField("body"):
            return Reply.of_outcome(recorded.status, recorded.body)
        entry = await asyncio.to_thread(self._ledger.find, found.operation.idempotency_key, operation)
        if entry is None or sha256(entry.body).hexdigest() != recorded.body_sha256:
            raise Undecided("recorded by the gateway, but not in the ledger")
        return Reply.of_outcome(entry.status, entry.body)

    async def _probe(self, found: v1.VerifyWalletResponse) -> Reply:
        """Answer a status probe with the answer to its move, or that there is none yet. A probe finishes no move."""
        asked = found.operation
        if found.original_state == v1.WALLET_ORIGINAL_STATE_FINISHED:
            return await self._recorded(found, asked.original_operation)
        if found.original_state == v1.WALLET_ORIGINAL_STATE_IN_PROGRESS:
            return Reply.of_outcome(409, b'{"type":"ERROR","status":"pending"}')
        entry = await asyncio.to_thread(self._ledger.find, asked.idempotency_key, asked.original_operation)
        if entry is None and found.original_state == v1.WALLET_ORIGINAL_STATE_NOT_SEEN:
            return Reply.of_outcome(404, b'{"type":"ERROR","status":"not_found"}')  # Phoenix may take a 200 as "done"
        raise Undecided("ledger and gateway differ, or the state is unknown")

    async def _balance(self, asked: v1.WalletOperation) -> Reply:
        """Answer the balance. An account that does not exist has balance 0."""
        player, currency = asked.player_id, asked.currency_code
        if not currency or not player:
            raise Undecided("the balance request names no player or no currency")
        funds = await asyncio.to_thread(self._ledger.funds, player, currency)
        available, reserved = (format(funds.available, "f"), format(funds.reserved, "f")) if funds else ("0", "0")
        answer = {"type": "SUCCESS", "currency_code": currency, "available": available, "reserved": reserved}
        return Reply.of_outcome(200, json.dumps(answer).encode())


def _order_id(operation: v1.WalletOperation) -> str:
    """Return the order of a move, or "". A credit may name no order, or two."""
    references = json.loads(operation.references_json or "{}")
    found = references.get("order_id", "") if isinstance(references, dict) else None
    if not isinstance(found, str):
        raise Undecided("the form of the references is unknown")
    return found


def _move_of(operation: v1.WalletOperation) -> Move:
    """Return the verified operation as a move. Raises: Undecided if the gateway could not parse the amount."""
    if not operation.amount.amount:
        raise Undecided("the form of the amount is unknown")
    return Move(
        operation=operation.operation,
        idempotency_key=operation.idempotency_key,
        player=operation.player_id,
        currency=operation.amount.currency_code,
        amount=Decimal(operation.amount.amount),
        order_id=_order_id(operation),
    )
