"""What is changed by a single bit is refused, whatever the bit, before anything is claimed."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.actions.shared.call import Call, Peer
from gateway.actions.shared.contexts import OperatorContext
from gateway.actions.shared.directory import OperatorDirectory
from gateway.actions.wallet.decision import Decision, Webhook
from gateway.actions.wallet.unreadable_calls import UnreadableCalls
from gateway.actions.wallet.verify_wallet import VerifyWallet
from gateway.core.ed25519 import generate_signing_key
from gateway.core.types import Environment, OperatorCode
from gateway.core.wallet import Disposition, Verdict, same_move
from gateway.evidence.durable import DurableWalletStore
from gateway.evidence.record import EvidenceQuery
from gateway.evidence.unreadable import UnreadableWebhooks
from gateway.keys.platform.platform_keys import PlatformKeys
from gateway.phoenix.prediction.operator_api import OperatorApiClient
from gateway.phoenix.retry import RetryingSender
from gateway.resilience.clock import SystemClock
from gateway.resilience.deadline import Deadline
from gateway.store.sqlite import SqliteDatabase
from tests.full_grant import FULL_GRANT
from tests.phoenix.scripted_sender import ScriptedSender

CODE = OperatorCode("acme")
BODY = json.dumps(
    {
        "operation": "credit_cash",
        "player": {"external_id": "p-1"},
        "currency_code": "EUR",
        "amount": {"value": "12.50"},
        "references": {"claim_side": "yes"},
    }
).encode()
REFUSED = {Verdict.MALFORMED_SIGNATURE, Verdict.BAD_SIGNATURE}


class Verifying:
    """The action with its own store and a known platform key."""

    def __init__(self, folder: Path) -> None:
        self.clock = SystemClock()
        self.key = generate_signing_key()[0]
        database = SqliteDatabase(folder / "evidence.sqlite3", self.clock)
        self.store = DurableWalletStore(database, same_move=same_move, clock=self.clock)
        room = OperatorContext(
            operator_code=CODE,
            environment=Environment.SANDBOX,
            operator_id=None,
            platform_keys=PlatformKeys(fetch=None, clock=self.clock, static_key=self.key.public),
            operator_api=OperatorApiClient(
                retrying=RetryingSender(sender=ScriptedSender(), clock=self.clock),
                base_url="https://p.example",
                authorize=lambda method, path, body: {},
            ),
            embed_url="https://embed.example",
            lease_s=60.0,
        )
        operators = OperatorDirectory({(CODE, Environment.SANDBOX): room})
        unreadable = UnreadableCalls(UnreadableWebhooks(database, self.clock), self.store, self.clock)
        self.verify = VerifyWallet(operators, self.store, unreadable, self.clock)

    async def decide(self, body: bytes, signature: str, key: str = "key-1") -> Decision:
        call = Call(
            method="m",
            peer=Peer(address="x"),
            request_id="r",
            deadline=Deadline.after(20, self.clock),
            arrived_at=0.0,
            grant=FULL_GRANT,
        )
        headers = (("signature", signature), ("idempotency-key", key), ("x-request-id", "r"))
        webhook = Webhook(method="POST", path="/wallet/transactions", headers=headers, raw_body=body)
        return await self.verify(CODE, Environment.SANDBOX, webhook, call)

    def sign(self, body: bytes) -> str:
        return base64.urlsafe_b64encode(self.key.sign(body)).rstrip(b"=").decode()

    async def kept(self) -> int:
        """How many moves the store holds."""
        query = EvidenceQuery(operator_code=CODE, environment=Environment.SANDBOX)
        return len((await self.store.list_evidence(query, Deadline.after(20, self.clock))).evidence)


def flipped(data: bytes, bit: int) -> bytes:
    """The same bytes but for one bit."""
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@contextmanager
def running(folder: Path) -> Iterator[tuple[asyncio.Runner, Verifying]]:
    """A store that is started, in a loop that outlives an example."""
    with asyncio.Runner() as runner:
        verifying = Verifying(folder)
        runner.run(verifying.store.start())
        yield runner, verifying
        runner.run(verifying.store.stop())


@pytest.mark.parametrize("part", ["body", "signature"])
def test_every_single_bit_counts(tmp_path: Path, part: str) -> None:
    """Each bit of the body, and each of the header's text, its unused last ones too: 401, nothing kept."""
    with running(tmp_path) as (runner, verifying):
        signature = verifying.sign(BODY)

        async def all_bits() -> list[Decision]:
            if part == "body":
                return [await verifying.decide(flipped(BODY, bit), signature) for bit in range(len(BODY) * 8)]
            texts = [flipped(signature.encode(), bit).decode("latin-1") for bit in range(len(signature) * 8)]
            return [await verifying.decide(BODY, text) for text in texts]

        decisions = runner.run(all_bits())
        assert REFUSED >= {decision.verdict for decision in decisions}
        assert {401} == {decision.reply.status for decision in decisions if decision.reply}
        assert all(decision.reply and not decision.operation_id for decision in decisions)
        assert 0 == runner.run(verifying.kept())
        assert Disposition.NEW is runner.run(verifying.decide(BODY, signature)).disposition


def test_any_changed_bit_of_any_body_is_refused(tmp_path: Path) -> None:
    """Any body that Phoenix signed is accepted, and with one changed bit it is a forgery."""
    with running(tmp_path) as (runner, verifying):

        @settings(max_examples=150, deadline=None)
        @given(body=st.binary(max_size=400), data=st.data())
        def holds(body: bytes, data: st.DataObject) -> None:
            raw = verifying.key.sign(body)
            bit = data.draw(st.integers(0, (len(body) + len(raw)) * 8 - 1))
            whole = flipped(body + raw, bit)
            changed, its_signature = whole[: len(body)], base64.urlsafe_b64encode(whole[len(body) :]).rstrip(b"=")
            genuine = runner.run(verifying.decide(body, verifying.sign(body)))
            assert genuine.verdict not in REFUSED
            assert Verdict.BAD_SIGNATURE is runner.run(verifying.decide(changed, its_signature.decode())).verdict

        holds()
