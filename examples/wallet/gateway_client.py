"""The two calls that a wallet makes to Phoenix Gateway. The wallet has no key of Phoenix.

Both calls may be repeated at any time. Every failure is a grpc.RpcError and decides nothing: answer Phoenix with 503.
Source: WalletService in docs/api.md.
"""

from __future__ import annotations

from decimal import Decimal

import grpc
from aiohttp import web
from google.protobuf.timestamp_pb2 import Timestamp

from examples.wallet.ledger import Entry
from examples.wallet.rules import Move, Undecided
from gateway.v1 import common_pb2, wallet_pb2, wallet_pb2_grpc

TIMEOUT_S = 4.0


class GatewayClient:
    """Client of WalletService. The gateway knows the caller's operator and environment, so no call names them."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = wallet_pb2_grpc.WalletServiceStub(channel)

    async def verify(self, request: web.BaseRequest, body: bytes) -> wallet_pb2.VerifyWalletResponse:
        """Verify a webhook exactly as received: raw path, raw body and all headers, repeated ones too."""
        webhook = wallet_pb2.VerifyWalletRequest(
            method=request.method,
            path=request.raw_path,
            headers=[
                wallet_pb2.HttpHeader(name=name.decode("latin-1"), raw_value=value)
                for name, value in request.raw_headers
            ],
            raw_body=body,
        )
        return await self._stub.VerifyWallet(webhook, timeout=TIMEOUT_S)

    async def record(self, found: wallet_pb2.VerifyWalletResponse, entry: Entry) -> None:
        """Record the outcome at the gateway. If a newer attempt exists, the call fails with STALE_ATTEMPT."""
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
    """Return the verified operation as a move. Raises: Undecided if the gateway could not parse the amount."""
    if not operation.amount.amount:
        raise Undecided("the form of the amount is unknown")
    return Move(
        operation=operation.operation,
        idempotency_key=operation.idempotency_key,
        player=operation.player_id,
        currency=operation.amount.currency_code,
        amount=Decimal(operation.amount.amount),
        order_id=order_id,
    )
