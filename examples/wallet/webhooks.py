"""Answers Phoenix's wallet webhooks: the gateway verifies, the ledger moves money, the gateway stores the evidence.

Phoenix takes 400, 401, 403 and 422 as final. So only the gateway and the ledger decide on a final answer. Everything
else becomes 503: Phoenix tries again with the same key, and the money moves once.
Source: WalletService in docs/api.md; Wallet Operations and Errors, in Phoenix's documentation.
"""

from __future__ import annotations

import asyncio
import json
import logging
from hashlib import sha256

from aiohttp import web

from examples.wallet.gateway_client import GatewayClient, move_of
from examples.wallet.ledger import Entry, Ledger
from examples.wallet.rules import Undecided
from gateway.v1 import wallet_pb2

_LOG = logging.getLogger("wallet")
_D = wallet_pb2.WalletDisposition
_S = wallet_pb2.WalletOriginalState
_V = wallet_pb2.WalletVerdict


class Webhooks:
    """The handler of all webhooks. `environment` is only for the log: the gateway knows that of this caller."""

    def __init__(self, gateway: GatewayClient, ledger: Ledger, environment: str) -> None:
        self._gateway = gateway
        self._ledger = ledger
        self._environment = environment

    async def answer(self, request: web.BaseRequest) -> web.Response:
        """Answer one webhook, at whatever path: the gateway decides which route it is. Any error becomes 503."""
        found = wallet_pb2.VerifyWalletResponse()
        problem = ""
        try:
            body = await request.read()
            found = await self._gateway.verify(request, body)
            response = await self._handle(found, body)
        except Exception as error:  # noqa: BLE001 - no error of the wallet may become a final refusal
            problem = str(error) if isinstance(error, Undecided) else type(error).__name__
            response = _json(503, b'{"type":"ERROR","error":"temporarily_unavailable"}')
            response.headers["Retry-After"] = "2"
        _LOG.info(
            "request_id=%r environment=%s verdict=%s disposition=%s status=%d operation_id=%s suspect=%s problem=%r",
            request.headers.get("x-request-id", "")[:64],
            self._environment,
            *(found.verdict, found.disposition, response.status, found.operation_id, found.suspect_replay, problem),
        )
        return response

    async def _handle(self, found: wallet_pb2.VerifyWalletResponse, body: bytes) -> web.Response:
        # 1. Send the gateway's reply unchanged: refusals, replays, 409, 422, 503.
        if found.HasField("reply"):
            return _reply_response(found.reply)
        if found.verdict != _V.WALLET_VERDICT_VERIFIED:
            raise Undecided("neither verified nor refused")
        # 2. Execute a move. After a crash, the ledger may have the entry of an earlier attempt and returns it.
        if found.disposition in (_D.WALLET_DISPOSITION_NEW, _D.WALLET_DISPOSITION_RECLAIMED):
            move = move_of(found.operation, _order_id(found.operation))
            entry = await asyncio.to_thread(self._ledger.move, move)
            await self._gateway.record(found, entry)  # before the answer to Phoenix
            return _entry_response(entry)
        # 3. Answer requests that move no money.
        if found.disposition == _D.WALLET_DISPOSITION_REPLAY:
            return await self._recorded(found, found.operation.operation)
        if found.disposition == _D.WALLET_DISPOSITION_STATUS_PROBE:
            return await self._probe(found)
        if found.disposition == _D.WALLET_DISPOSITION_NOT_A_MOVE:
            return await self._balance(found.operation.player_id, body)
        raise Undecided("the disposition is unknown")

    async def _recorded(self, found: wallet_pb2.VerifyWalletResponse, operation: str) -> web.Response:
        """Return the recorded response: the gateway's copy, or the ledger's if the gateway stores only the hash."""
        recorded = found.recorded_response
        if recorded.HasField("body"):
            return _json(recorded.status, recorded.body)
        entry = await asyncio.to_thread(self._ledger.find, found.operation.idempotency_key, operation)
        if entry is None or sha256(entry.body).hexdigest() != recorded.body_sha256:
            raise Undecided("recorded by the gateway, but not in the ledger")
        return _entry_response(entry)

    async def _probe(self, found: wallet_pb2.VerifyWalletResponse) -> web.Response:
        """Answer a status probe with the answer to its move, or that there is none yet. A probe finishes no move."""
        asked = found.operation
        if found.original_state == _S.WALLET_ORIGINAL_STATE_FINISHED:
            return await self._recorded(found, asked.original_operation)
        if found.original_state == _S.WALLET_ORIGINAL_STATE_IN_PROGRESS:
            return _json(409, b'{"type":"ERROR","status":"pending"}')
        entry = await asyncio.to_thread(self._ledger.find, asked.idempotency_key, asked.original_operation)
        if entry is None and found.original_state == _S.WALLET_ORIGINAL_STATE_NOT_SEEN:
            return _json(404, b'{"type":"ERROR","status":"not_found"}')  # Phoenix may take a 200 as "done"
        raise Undecided("ledger and gateway differ, or the state is unknown")

    async def _balance(self, player: str, body: bytes) -> web.Response:
        """Answer the balance. An account that does not exist has balance 0."""
        currency = json.loads(body).get(
            "currency_code"
        )  # the body is verified; the gateway returns the currency only for moves
        if not isinstance(currency, str) or not player:
            raise Undecided("the balance request names no player or no currency")
        funds = await asyncio.to_thread(self._ledger.funds, player, currency)
        available, reserved = (format(funds.available, "f"), format(funds.reserved, "f")) if funds else ("0", "0")
        answer = {"type": "SUCCESS", "currency_code": currency, "available": available, "reserved": reserved}
        return _json(200, json.dumps(answer).encode())


def _order_id(operation: wallet_pb2.WalletOperation) -> str:
    """Return the order of a move, or "". A credit may name no order, or two."""
    references = json.loads(operation.references_json or "{}")
    found = references.get("order_id", "") if isinstance(references, dict) else None
    if not isinstance(found, str):
        raise Undecided("the form of the references is unknown")
    return found


def _reply_response(reply: wallet_pb2.WalletReply) -> web.Response:
    response = web.Response(status=reply.status, body=reply.body, headers={"Content-Type": reply.content_type})
    if reply.retry_after_seconds:
        response.headers["Retry-After"] = str(reply.retry_after_seconds)
    return response


def _entry_response(entry: Entry) -> web.Response:
    return _json(entry.status, entry.body)


def _json(status: int, body: bytes) -> web.Response:
    content_type = "application/problem+json" if status == 422 else "application/json"
    return web.Response(status=status, body=body, content_type=content_type)
