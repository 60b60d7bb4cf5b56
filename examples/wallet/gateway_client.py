"""The two calls that a wallet makes to Phoenix Gateway. Holds no key of Phoenix's.

Both may be made again at any time. Every failure is a grpc.RpcError, which is no verdict: answer Phoenix with 503.
Source: API.md, WalletService.
"""

from __future__ import annotations

from decimal import Decimal

import grpc
from aiohttp import web
from google.protobuf.timestamp_pb2 import Timestamp

from examples.wallet.ledger import Entry
from examples.wallet.rules import Doubt, Move
from gateway.v1 import common_pb2, wallet_pb2, wallet_pb2_grpc

TIMEOUT_S = 4.0


class GatewayClient:
    """WalletService as the only operator and environment that this caller may speak for."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = wallet_pb2_grpc.WalletServiceStub(channel)

    async def verify(self, request: web.Request, body: bytes) -> wallet_pb2.VerifyWalletResponse:
        """Hand a webhook over exactly as it came: raw path, raw body, all headers, repeated ones too."""
        webhook = wallet_pb2.VerifyWalletRequest(
            method=request.method,
            path=request.raw_path,
            # Latin-1 gives every byte a letter of its own, so that two headers never become one.
            headers=[
                wallet_pb2.HttpHeader(name=name.decode("latin-1"), value=value.decode("latin-1"))
                for name, value in request.raw_headers
            ],
            raw_body=body,
        )
        return await self._stub.VerifyWallet(webhook, timeout=TIMEOUT_S)

    async def record(self, found: wallet_pb2.VerifyWalletResponse, entry: Entry) -> None:
        """Have an outcome recorded. An attempt that another one has overtaken fails here, with STALE_ATTEMPT."""
        process_time = Timestamp()
        process_time.FromMicroseconds(entry.processed_at_us)
        outcome = wallet_pb2.RecordWalletOutcomeRequest(
            operation_id=found.operation_id,
            attempt=found.attempt,
            response_status=entry.status,
            response_body=entry.body,
            operator_transaction_id=entry.transaction_id,
            operator_reservation_id=entry.reservation_id,
            available_balance=common_pb2.Money(amount=entry.available, currency_code=entry.currency),
            reserved_balance=common_pb2.Money(amount=entry.reserved, currency_code=entry.currency),
            process_time=process_time,
        )
        await self._stub.RecordWalletOutcome(outcome, timeout=TIMEOUT_S)


def move_of(operation: wallet_pb2.WalletOperation, order_id: str) -> Move:
    """Return the verified operation as a move. Raises: Doubt where the gateway did not understand the amount."""
    if not operation.amount.amount:
        raise Doubt("an amount in a form that is not understood")
    return Move(
        operation=operation.operation,
        idempotency_key=operation.idempotency_key,
        player=operation.player_id,
        currency=operation.amount.currency_code,
        amount=Decimal(operation.amount.amount),
        order_id=order_id,
    )
