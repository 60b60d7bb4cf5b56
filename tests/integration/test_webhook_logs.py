"""What the log and the metrics say about a webhook beyond its verdict."""

from __future__ import annotations

import re
import uuid
from urllib.request import urlopen

import pytest

from gateway.core.wallet_verdict import Disposition, Verdict
from tests.integration.test_wallet import signed
from tests.integration.webhook_verdicts import Asked, logged


def test_every_series_is_there_from_the_start(asked: Asked) -> None:
    """An alert sees the first of each."""
    there = asked.counted()
    wanted = {(verdict.value, "") for verdict in Verdict if verdict is not Verdict.VERIFIED}
    wanted |= {("VERIFIED", disposition.value) for disposition in Disposition}
    assert {(environment, *one) for environment in ("sandbox", "prod") for one in wanted} <= set(there)


@pytest.mark.parametrize(("forge", "verdict"), [("none", "VERIFIED"), ("bit", "BAD_SIGNATURE")])
def test_a_call_is_logged_with_what_phoenix_asks_for(asked: Asked, forge: str, verdict: str) -> None:
    """The line has Phoenix's request id, the environment, and the verdict with the key that it was made with."""
    request = asked.move(forge=forge)
    asked.wallet.VerifyWallet(request)
    request_id = next(header.value for header in request.headers if header.name == "x-request-id")
    line = logged(asked, request_id)
    assert ("sandbox", "acme", verdict) == (line["environment"], line["operator"], line["verdict"])
    assert line["key_id"]


def test_odd_headers_are_counted_and_logged(asked: Asked) -> None:
    """Another provider, an odd request id, a key on a balance call: none is a ground to refuse."""
    request = signed(asked.sandbox, route="balance", operation="balance", idempotency_key="unexpected")
    request_id = f"odd-{uuid.uuid4()}"
    for header in request.headers:
        if header.name == "x-provider":
            header.value = "another-provider"
        if header.name == "x-request-id":
            header.value = request_id
    asked.expect(request, "VERIFIED", None, "NOT_A_MOVE")
    line = logged(asked, request_id)
    assert ("BALANCE_KEY PROVIDER REQUEST_ID", "another-provider") == (line["odd_headers"], line["provider"])
    with urlopen(f"http://{asked.gateway.admin_address}/metrics", timeout=5) as page:
        text = page.read().decode()
    for kind in ("BALANCE_KEY", "PROVIDER", "REQUEST_ID"):
        assert re.search(rf'odd_headers_total{{kind="{kind}"}} [1-9]', text)
