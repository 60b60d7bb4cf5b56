"""A client of Phoenix Gateway. Start with `Gateway` or `AsyncGateway`; `v1` has the messages of the contract."""

from phoenix_gateway_client import errors, reasons, v1
from phoenix_gateway_client.errors import *  # noqa: F403 - the tree at the top of errors.py
from phoenix_gateway_client.event_stream import AsyncEventStream, EventStream
from phoenix_gateway_client.gateway import AsyncGateway, Gateway
from phoenix_gateway_client.reasons import *  # noqa: F403 - one class for each reason
from phoenix_gateway_client.rules import error_of, new_event_id
from phoenix_gateway_client.tls import Tls
from phoenix_gateway_client.wallet import Reply, WalletCall, Webhook

__all__ = [
    "AsyncEventStream",
    "AsyncGateway",
    "EventStream",
    "Gateway",
    "Reply",
    "Tls",
    "WalletCall",
    "Webhook",
    "error_of",
    "new_event_id",
    "v1",
]
__all__ += errors.__all__
__all__ += reasons.__all__
