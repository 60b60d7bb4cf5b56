"""The client: `Gateway` for threads, `AsyncGateway` for asyncio. One object for the life of the process; it reconnects.

Every service of the contract is an attribute with a method for each RPC. A few methods here do more than one call.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Generator, Sequence
from concurrent.futures import Future
from typing import Any

from phoenix_gateway_client import services, v1
from phoenix_gateway_client.calls import AsyncCalls, Calls, Settings
from phoenix_gateway_client.errors import GatewayError
from phoenix_gateway_client.event_stream import AsyncEventStream, EventStream, Results
from phoenix_gateway_client.generations import LOG
from phoenix_gateway_client.streams import WATCH, Reconnects, Unacknowledged
from phoenix_gateway_client.tls import Tls
from phoenix_gateway_client.wallet import Reply, WalletCall, Webhook, outcome, read_webhook, read_webhook_async


class Gateway:
    """A client for threads, safe for use by several of them.

    Args:
        target: host:port, or a list that DNS knows (`dns:///gateway:50051`), or `unix:/path`.
        tls: the files of mutual TLS; without it, only a gateway on this machine can be called.
        token: the development token of a gateway on this machine.
        timeout: seconds of each call that is no stream. Default: as published, 10 s, and 4 s for the wallet.
        interceptors: of grpc, such as those of OpenTelemetry.
    """

    def __init__(
        self,
        target: str,
        *,
        tls: Tls | None = None,
        token: str = "",
        timeout: float | None = None,
        interceptors: Sequence[Any] = (),
    ) -> None:
        self._calls = Calls(Settings(target, tls, token, timeout, interceptors))
        self._closed = threading.Event()
        self.events = services.EventService(self._calls)
        self.leaderboards = services.LeaderboardService(self._calls)
        self.leaderboard_admin = services.LeaderboardAdminService(self._calls)
        self.tokens = services.TokenService(self._calls)
        self.wallet = services.WalletService(self._calls)
        self.operator = services.OperatorService(self._calls)
        self.phoenix = services.PhoenixService(self._calls)
        self.keys = services.KeyService(self._calls)

    def close(self) -> None:
        """End every call and the connection."""
        self._closed.set()
        self._calls.close()

    def __enter__(self) -> Gateway:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def watch_leaderboard(
        self, leaderboard_id: str, *, tenant_id: str = "", window_key: str = "", page_size: int = 100
    ) -> Generator[v1.WatchLeaderboardResponse, None, None]:
        """Yield the board now and after each change, for ever: also over resyncs and restarts of the gateway.

        After a lost connection comes the whole board again, with a new `epoch`. Raises: GatewayError if the first
        connection fails, or if the gateway refuses, such as NotAllowed.
        """
        request = _watch_request(leaderboard_id, tenant_id, window_key, page_size)
        reconnects = Reconnects()
        while not self._closed.is_set():
            error: GatewayError | None = None
            try:
                for board in self._calls.server_stream(WATCH, request, None, ()):
                    reconnects.worked()
                    yield board
            except GatewayError as ended:
                error = ended
            if self._closed.is_set():
                return
            wait = reconnects.wait_after(error)
            LOG.warning("the watch of %s ended and is opened again in %.1f s: %s", leaderboard_id, wait, error)
            self._closed.wait(wait)

    def event_stream(self, *, tenant_id: str = "", durable: bool = True, resend_unknown: bool = False) -> EventStream:
        """Open a stream of events that keeps what is not acknowledged, and sends it again after a lost connection.

        Args: `durable`: the gateway answers when its store has the events, and remembers their ids. Without it, a
        message whose gateway was restarted ends as OutcomeUnknown. `resend_unknown` sends such a message again: only
        where Phoenix deduplicates.
        """
        pending: Unacknowledged[Future[Results]] = Unacknowledged(
            tenant_id, _delivery(durable), resend_unknown=resend_unknown
        )
        return EventStream(self._calls, pending)

    def verify_wallet(
        self,
        request: Any,
        *,
        operator_code: str = "",
        environment: v1.PhoenixEnvironment.ValueType = v1.PHOENIX_ENVIRONMENT_UNSPECIFIED,
        route: v1.WalletRoute.ValueType = v1.WALLET_ROUTE_UNSPECIFIED,
    ) -> WalletCall:
        """Verify a webhook of Phoenix and claim its move. Never raises: a failure is the reply 503.

        Args: `request`: of Flask or Django, a WSGI environ, or a `Webhook`.
        """
        try:
            webhook = read_webhook(request)
            asked = webhook.request(operator_code, environment, route)
            return WalletCall.of(self.wallet.verify_wallet(asked), webhook.body)
        except Exception as error:  # noqa: BLE001 - every other status could end a payout
            return WalletCall.failed(error)

    def record_wallet_outcome(self, call: WalletCall, status: int, body: bytes, **fields: Any) -> Reply:
        """Record what the wallet did, and return the reply for Phoenix. Never raises: a failure is the reply 503.

        Args: `fields`: further members of RecordWalletOutcomeRequest, such as `operator_transaction_id`.
        """
        try:
            self.wallet.record_wallet_outcome(outcome(call, status, body, fields))
        except Exception as error:  # noqa: BLE001 - Phoenix sends the move again, and the ledger knows it
            return Reply.of_failure(error)
        return Reply.of_outcome(status, body)


class AsyncGateway:
    """A client for asyncio. Make it and use it in one event loop. The arguments are those of `Gateway`."""

    def __init__(
        self,
        target: str,
        *,
        tls: Tls | None = None,
        token: str = "",
        timeout: float | None = None,
        interceptors: Sequence[Any] = (),
    ) -> None:
        self._calls = AsyncCalls(Settings(target, tls, token, timeout, interceptors))
        self.events = services.AsyncEventService(self._calls)
        self.leaderboards = services.AsyncLeaderboardService(self._calls)
        self.leaderboard_admin = services.AsyncLeaderboardAdminService(self._calls)
        self.tokens = services.AsyncTokenService(self._calls)
        self.wallet = services.AsyncWalletService(self._calls)
        self.operator = services.AsyncOperatorService(self._calls)
        self.phoenix = services.AsyncPhoenixService(self._calls)
        self.keys = services.AsyncKeyService(self._calls)

    async def close(self) -> None:
        """End every call and the connection."""
        await self._calls.close()

    async def __aenter__(self) -> AsyncGateway:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def watch_leaderboard(
        self, leaderboard_id: str, *, tenant_id: str = "", window_key: str = "", page_size: int = 100
    ) -> AsyncGenerator[v1.WatchLeaderboardResponse, None]:
        """Yield the board now and after each change: see `Gateway.watch_leaderboard`."""
        request = _watch_request(leaderboard_id, tenant_id, window_key, page_size)
        reconnects = Reconnects()
        while True:
            error: GatewayError | None = None
            try:
                async for board in self._calls.server_stream(WATCH, request, None, ()):
                    reconnects.worked()
                    yield board
            except GatewayError as ended:
                error = ended
            wait = reconnects.wait_after(error)
            LOG.warning("the watch of %s ended and is opened again in %.1f s: %s", leaderboard_id, wait, error)
            await asyncio.sleep(wait)

    def event_stream(
        self, *, tenant_id: str = "", durable: bool = True, resend_unknown: bool = False
    ) -> AsyncEventStream:
        """Open a stream of events: see `Gateway.event_stream`."""
        pending: Unacknowledged[asyncio.Future[Results]] = Unacknowledged(
            tenant_id, _delivery(durable), resend_unknown=resend_unknown
        )
        return AsyncEventStream(self._calls, pending)

    async def verify_wallet(
        self,
        request: Any,
        *,
        operator_code: str = "",
        environment: v1.PhoenixEnvironment.ValueType = v1.PHOENIX_ENVIRONMENT_UNSPECIFIED,
        route: v1.WalletRoute.ValueType = v1.WALLET_ROUTE_UNSPECIFIED,
    ) -> WalletCall:
        """Verify a webhook of Phoenix and claim its move. Never raises: a failure is the reply 503.

        Args: `request`: of FastAPI, Starlette, aiohttp, Quart, Flask or Django, a WSGI environ, or a `Webhook`.
        """
        try:
            webhook = await read_webhook_async(request)
            asked = webhook.request(operator_code, environment, route)
            return WalletCall.of(await self.wallet.verify_wallet(asked), webhook.body)
        except Exception as error:  # noqa: BLE001 - every other status could end a payout
            return WalletCall.failed(error)

    async def record_wallet_outcome(self, call: WalletCall, status: int, body: bytes, **fields: Any) -> Reply:
        """Record what the wallet did: see `Gateway.record_wallet_outcome`."""
        try:
            await self.wallet.record_wallet_outcome(outcome(call, status, body, fields))
        except Exception as error:  # noqa: BLE001 - Phoenix sends the move again, and the ledger knows it
            return Reply.of_failure(error)
        return Reply.of_outcome(status, body)


def _watch_request(leaderboard_id: str, tenant_id: str, window_key: str, page_size: int) -> v1.WatchLeaderboardRequest:
    return v1.WatchLeaderboardRequest(
        leaderboard_id=leaderboard_id, tenant_id=tenant_id, window_key=window_key, page_size=page_size
    )


def _delivery(durable: bool) -> v1.Delivery.ValueType:
    return v1.DELIVERY_DURABLE if durable else v1.DELIVERY_DIRECT


__all__ = ["AsyncGateway", "Gateway", "Webhook"]
