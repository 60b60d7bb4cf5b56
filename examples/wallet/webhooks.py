"""Answers Phoenix's wallet webhooks: the gateway verifies, the ledger moves the money, the gateway keeps the evidence.

Phoenix takes 400, 401, 403 and 422 as final. So a final answer is given only where the gateway or the ledger gave it,
and everything else that can happen here becomes 503: Phoenix comes again with the same key, and the money moves once.
Source: API.md, WalletService; prediction.md 4.5, 4.6, 4.9 and 5.4.
"""

from __future__ import annotations

import asyncio
import json
import logging
from hashlib import sha256

from aiohttp import web

from examples.wallet.gateway_client import GatewayClient, move_of
from examples.wallet.ledger import Entry, Ledger
from examples.wallet.rules import Doubt
from gateway.v1 import wallet_pb2

MAX_BODY_BYTES = 1_048_576
_LOG = logging.getLogger("wallet")
_D = wallet_pb2.WalletDisposition
_S = wallet_pb2.WalletOriginalState
_V = wallet_pb2.WalletVerdict


class Webhooks:
    """The three routes. `environment` is for the log alone: the gateway knows which one it serves this caller."""

    def __init__(self, gateway: GatewayClient, ledger: Ledger, environment: str) -> None:
        self._gateway = gateway
        self._ledger = ledger
        self._environment = environment

    def application(self) -> web.Application:
        """Return the application to serve, with `auto_decompress=False`: signatures are over the bytes as received."""
        made = web.Application(client_max_size=MAX_BODY_BYTES)
        for route in ("/wallet/transactions", "/wallet/transactions/status", "/wallet/balance"):
            made.router.add_post(route, self.answer)
        return made

    async def answer(self, request: web.Request) -> web.Response:
        """Answer one webhook; whatever goes wrong, with 503."""
        found = wallet_pb2.VerifyWalletResponse()
        trouble = ""
        try:
            body = await request.read()
            found = await self._gateway.verify(request, body)
            response = await self._act(found, body)
        except Exception as error:  # noqa: BLE001 - no trouble of ours may become a final refusal
            trouble = str(error) if isinstance(error, Doubt) else type(error).__name__
            response = _json(503, b'{"type":"ERROR","error":"temporarily_unavailable"}')
            response.headers["Retry-After"] = "2"
        _LOG.info(
            "request_id=%r environment=%s verdict=%s disposition=%s status=%d operation_id=%s suspect=%s trouble=%r",
            request.headers.get("x-request-id", "")[:64],
            self._environment,
            *(found.verdict, found.disposition, response.status, found.operation_id, found.suspect_replay, trouble),
        )
        return response

    async def _act(self, found: wallet_pb2.VerifyWalletResponse, body: bytes) -> web.Response:
        # 1. What the gateway says is sent as it is: refusals, replays, 409, 422, 503.
        if found.HasField("reply"):
            return _as_told(found.reply)
        if found.verdict != _V.WALLET_VERDICT_VERIFIED:
            raise Doubt("neither verified nor refused")
        # 2. A move. After a crash the ledger may hold an earlier attempt's entry: it looks there first.
        if found.disposition in (_D.WALLET_DISPOSITION_NEW, _D.WALLET_DISPOSITION_RECLAIMED):
            move = move_of(found.operation, _order_id(found.operation))
            entry = await asyncio.to_thread(self._ledger.move, move)
            await self._gateway.record(found, entry)  # before Phoenix hears of it
            return _answered(entry)
        # 3. Nothing moves.
        if found.disposition == _D.WALLET_DISPOSITION_REPLAY:
            return await self._recorded(found, found.operation.operation)
        if found.disposition == _D.WALLET_DISPOSITION_STATUS_PROBE:
            return await self._probe(found)
        if found.disposition == _D.WALLET_DISPOSITION_NOT_A_MOVE:
            return await self._balance(found.operation.player_id, body)
        raise Doubt("a disposition that this wallet does not know")

    async def _recorded(self, found: wallet_pb2.VerifyWalletResponse, operation: str) -> web.Response:
        """Return the recorded response: the gateway's copy or, where it keeps the hash alone, the ledger's."""
        recorded = found.recorded_response
        if recorded.HasField("body"):
            return _json(recorded.status, recorded.body)
        entry = await asyncio.to_thread(self._ledger.find, found.operation.idempotency_key, operation)
        if entry is None or sha256(entry.body).hexdigest() != recorded.body_sha256:
            raise Doubt("recorded, but not in the ledger")
        return _answered(entry)

    async def _probe(self, found: wallet_pb2.VerifyWalletResponse) -> web.Response:
        """Answer as the move was answered, or that it was not so far. The move itself is what finishes it."""
        asked = found.operation
        if found.original_state == _S.WALLET_ORIGINAL_STATE_FINISHED:
            return await self._recorded(found, asked.original_operation)
        if found.original_state == _S.WALLET_ORIGINAL_STATE_IN_PROGRESS:
            return _json(409, b'{"type":"ERROR","status":"pending"}')
        entry = await asyncio.to_thread(self._ledger.find, asked.idempotency_key, asked.original_operation)
        if entry is None and found.original_state == _S.WALLET_ORIGINAL_STATE_NOT_SEEN:
            return _json(404, b'{"type":"ERROR","status":"not_found"}')  # 200 might be taken for "done"
        raise Doubt("the ledger knows what the gateway does not, or a new kind of state")

    async def _balance(self, player: str, body: bytes) -> web.Response:
        """Answer the balance; an account that does not exist holds nothing."""
        currency = json.loads(body).get("currency_code")  # verified by now; the gateway names it for moves alone
        if not isinstance(currency, str) or not player:
            raise Doubt("a balance of whom, in what?")
        funds = await asyncio.to_thread(self._ledger.funds, player, currency)
        available, reserved = (format(funds.available, "f"), format(funds.reserved, "f")) if funds else ("0", "0")
        answer = {"type": "SUCCESS", "currency_code": currency, "available": available, "reserved": reserved}
        return _json(200, json.dumps(answer).encode())


def _order_id(operation: wallet_pb2.WalletOperation) -> str:
    """Return the order that a move belongs to; "" for none: a credit may name none, or two."""
    references = json.loads(operation.references_json or "{}")
    found = references.get("order_id", "") if isinstance(references, dict) else None
    if not isinstance(found, str):
        raise Doubt("references in a form that is not understood")
    return found


def _as_told(reply: wallet_pb2.WalletReply) -> web.Response:
    response = web.Response(status=reply.status, body=reply.body, headers={"Content-Type": reply.content_type})
    if reply.retry_after_seconds:
        response.headers["Retry-After"] = str(reply.retry_after_seconds)
    return response


def _answered(entry: Entry) -> web.Response:
    return _json(entry.status, entry.body)


def _json(status: int, body: bytes) -> web.Response:
    content_type = "application/problem+json" if status == 422 else "application/json"
    return web.Response(status=status, body=body, content_type=content_type)
