"""What a call leaves in the metrics, through a real front on a real socket."""

from __future__ import annotations

import asyncio

from google.protobuf.struct_pb2 import Struct

from gateway.actions.shared.call import Call
from gateway.actions.shared.call_record import WalletRecord
from gateway.core.wallet import Disposition, HeaderAnomaly, Verdict
from tests.telemetry.logged_gateway import METHOD, Gateway, gateway

__all__ = ["gateway"]


async def test_call_is_counted_by_how_it_ended(gateway: Gateway) -> None:
    """Calls count under status and reason, refused ones too, and none stays in flight."""
    await gateway.call()
    await gateway.call()
    gateway.gate.shut = True
    await gateway.call()
    assert [
        gateway.sample(f'phoenix_gateway_calls_total{{method="{METHOD}",reason="",status="OK"}}'),
        gateway.sample(f'phoenix_gateway_calls_total{{method="{METHOD}",reason="NOT_ALLOWED"'),
        gateway.sample(f'phoenix_gateway_call_seconds_count{{method="{METHOD}"}}'),
        gateway.sample(f'phoenix_gateway_calls_in_flight{{method="{METHOD}"}}'),
    ] == [2, 1, 3, 0]


async def test_call_that_is_cancelled_leaves_no_flight(gateway: Gateway) -> None:
    """A call whose caller leaves counts as CANCELLED and is no longer in flight."""
    entered = asyncio.Event()

    async def waits(request: Struct, call: Call) -> Struct:
        entered.set()
        await asyncio.Event().wait()
        return request

    gateway.handler = waits
    call = gateway.method(b"")
    async with asyncio.timeout(10):
        await entered.wait()
        during = gateway.sample("phoenix_gateway_calls_in_flight")
        call.cancel()
        await gateway.outermost.left.wait()
    assert (during, gateway.sample(f'phoenix_gateway_calls_in_flight{{method="{METHOD}"}}')) == (1, 0)
    assert gateway.sample(f'phoenix_gateway_calls_total{{method="{METHOD}",reason="CANCELLED"') == 1


async def test_a_wallet_decision_is_counted_from_the_record(gateway: Gateway) -> None:
    """Verdict, disposition, a suspected replay and odd headers are counted from what the action recorded."""

    async def decided(request: Struct, call: Call) -> Struct:
        record = call.record
        record.environment = "prod"
        record.wallet = WalletRecord(
            verdict=Verdict.VERIFIED,
            disposition=Disposition.NEW,
            suspect_replay=True,
            odd_headers=(HeaderAnomaly.PROVIDER, HeaderAnomaly.REQUEST_ID),
        )
        return request

    gateway.handler = decided
    await gateway.call()
    name = "phoenix_gateway_"
    assert [
        gateway.sample(name + 'wallet_decisions_total{disposition="NEW",environment="prod",verdict="VERIFIED"}'),
        gateway.sample(name + 'suspect_replays_total{environment="prod"}'),
        gateway.sample(name + "odd_headers_total{"),
    ] == [1, 1, 2]
