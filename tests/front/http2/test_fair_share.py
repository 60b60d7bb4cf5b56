"""Callers take turns, whichever way they come: by certificates of their own, or through one proxy's connection."""

from __future__ import annotations

import ngh2
import pytest

from gateway.actions.shared.call import Peer
from gateway.core.rights import Callers, Grant
from gateway.front.http2.admission import Admission, AdmissionSettings
from gateway.front.http2.gate import Gate
from gateway.front.http2.stream import Stream
from gateway.interceptors.identity import FORWARDED, caller_of
from gateway.interceptors.policy import PolicyInForce
from gateway.resilience.clock import SystemClock
from tests.front.http2.handlers import Handlers, MakeEngine
from tests.front.http2.peer import connected, serving

PROXY = "proxy.internal"
POLICY = PolicyInForce(
    Callers(
        [Grant(caller="shop", methods=frozenset()), Grant(caller="wallet", methods=frozenset())],
        ids={"shop.internal": "shop", "spiffe://acme/shop": "shop", "wallet.internal": "wallet"},
    )
)
NAME_OF = caller_of(POLICY, frozenset({PROXY}))


def forwarded(name: str) -> tuple[bytes, bytes]:
    return FORWARDED.encode(), f"Hash=ab;DNS={name}".encode()


@pytest.mark.parametrize(
    ("peer", "header", "name"),
    [
        pytest.param(Peer(address="", caller="till"), "", "till", id="socket"),
        pytest.param(Peer(address="", names=("shop.internal",)), "", "shop", id="certificate"),
        pytest.param(Peer(address="", names=("spiffe://acme/shop",)), "", "shop", id="the caller's other name"),
        pytest.param(
            Peer(address="", names=("other.internal",)), "", "unlisted:other.internal", id="not in the policy"
        ),
        pytest.param(Peer(address="", names=(PROXY,)), "DNS=wallet.internal", "wallet", id="proxy"),
        pytest.param(Peer(address="", names=(PROXY,)), "", f"unlisted:{PROXY}", id="proxy that names nobody"),
        pytest.param(Peer(address="", names=("shop.internal",)), "DNS=wallet.internal", "shop", id="not a proxy"),
        pytest.param(Peer(address=""), "DNS=wallet.internal", "", id="no certificate"),
    ],
)
def test_whose_turn_a_call_takes(peer: Peer, header: str, name: str) -> None:
    """The policy's caller, as Identity finds it later; the header counts only from a trusted proxy."""
    assert name == NAME_OF(peer, header)


async def test_callers_behind_one_proxy_take_turns(engine: MakeEngine) -> None:
    """Twenty calls of one wait; the first call of another is among the first five to be answered."""
    admission: Admission[Stream] = Admission(AdmissionSettings(first_limit=1.0, min_limit=1.0, max_limit=1.0))
    gate = Gate(SystemClock(), admission=admission, caller_of=NAME_OF)
    proxy = Peer(address="", names=(PROXY,))
    async with serving(Handlers().all(), engine, gate=gate, named=proxy) as (_, port), connected(port) as peer:
        peer.call("/t/Short", b"", extra=[forwarded("shop.internal")])
        loud = [peer.call("/t/Empty", b"", extra=[forwarded("shop.internal")]) for _ in range(20)]
        quiet = peer.call("/t/Empty", b"", extra=[forwarded("wallet.internal")])
        await peer.until(lambda: all(peer.status(stream) == 0 for stream in (*loud, quiet)))
        answered = [one.stream_id for one in peer.of(ngh2.TrailersReceived)]
        assert answered.index(quiet) <= 4
