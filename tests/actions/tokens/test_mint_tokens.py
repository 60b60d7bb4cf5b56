"""Batches of launch tokens: results in order, checked claims, and digests of the minted tokens."""

from __future__ import annotations

import hashlib
from typing import Any

import jwt
import pytest

from gateway.actions.shared.call import Call, Peer
from gateway.actions.shared.contexts import OperatorContext
from gateway.actions.shared.directory import OperatorDirectory, TenantDirectory
from gateway.actions.tokens.mint_tokens import LaunchToken, MintTokens, WantedLaunch
from gateway.core.ed25519 import SigningKey, VerifyingKey, generate_signing_key
from gateway.core.launch_token import LaunchSettings, Player
from gateway.core.secret import Secret
from gateway.core.types import Environment, OperatorCode
from gateway.errors import FieldFault, GatewayError, InvalidField
from gateway.keys.own.keyring import Keyring, OperatorEntry
from gateway.keys.platform.platform_keys import PlatformKeys
from gateway.keys.sources.secret_files import SecretSource
from gateway.phoenix.prediction.operator_api import OperatorApiClient
from gateway.phoenix.retry import RetryingSender
from gateway.resilience.deadline import Deadline
from tests.full_grant import FULL_GRANT
from tests.manual_clock import ManualClock
from tests.phoenix.scripted_sender import ScriptedSender

_CODE = OperatorCode("acme")


def verified(launch: LaunchToken, key: VerifyingKey) -> dict[str, Any]:
    """The claims of a token whose signature another implementation verified; the clock of the test is another one."""
    claims: dict[str, Any] = jwt.decode(
        launch.token,
        key.spki_pem,
        algorithms=["EdDSA"],
        options={"verify_exp": False, "verify_iat": False, "verify_aud": False},
    )
    return claims


class Mint:
    """MintTokens for one operator in sandbox, and in prod without a key."""

    def __init__(self, launch: LaunchSettings | None = None) -> None:
        self.clock = ManualClock()
        self.key: SigningKey
        self.key, pem = generate_signing_key()
        source = SecretSource(setting="KEY", value=Secret.from_text(pem.decode()))
        entries = [
            OperatorEntry(operator_code=_CODE, environment=Environment.SANDBOX, signing_key=source),
            OperatorEntry(operator_code=_CODE, environment=Environment.PROD),
        ]
        rooms = {(_CODE, one.environment): self._room(one.environment, launch) for one in entries}
        keyring = Keyring(tenants=[], operators=entries, clock=self.clock)
        self.tokens = MintTokens(TenantDirectory({}), OperatorDirectory(rooms), keyring, self.clock)
        self.call = Call(
            method="m",
            peer=Peer(address="x"),
            request_id="r",
            deadline=Deadline.after(5, self.clock),
            arrived_at=0.0,
            grant=FULL_GRANT,
        )

    def _room(self, environment: Environment, launch: LaunchSettings | None) -> OperatorContext:
        async def no_fetch(timeout_s: float) -> bytes:
            raise AssertionError("a mint fetches no platform key")

        retrying = RetryingSender(sender=ScriptedSender(), clock=self.clock)
        return OperatorContext(
            operator_code=_CODE,
            environment=environment,
            operator_id=None,
            platform_keys=PlatformKeys(fetch=no_fetch, clock=self.clock),
            operator_api=OperatorApiClient(
                retrying=retrying, base_url="https://p.example", authorize=lambda method, path, body: {}
            ),
            embed_url="https://embed.example",
            lease_s=60.0,
            launch=launch or LaunchSettings(),
            currencies=frozenset({"EUR"}),
        )


def wanted(
    player: Player | None = None, environment: Environment | None = Environment.SANDBOX, ttl_s: int | None = None
) -> WantedLaunch:
    return WantedLaunch(operator_code="acme", environment=environment, player=player, ttl_s=ttl_s)


def reasons(results: list[LaunchToken | GatewayError]) -> list[str]:
    return ["" if isinstance(one, LaunchToken) else one.reason for one in results]


async def test_results_are_in_order() -> None:
    """One that fails costs only itself."""
    mint = Mint()
    given = InvalidField([FieldFault(field="session", description="is required")])
    results = await mint.tokens.launch_many(
        [
            wanted(Player(player_id="p1", currency="EUR")),
            given,
            wanted(Player(player_id="p2", currency="USD")),
            wanted(environment=Environment.PROD),
            WantedLaunch(operator_code="nobody", environment=None, player=None),
            wanted(Player(player_id="", currency="EUR")),
            wanted(ttl_s=3601),
            wanted(),
        ],
        mint.call,
    )
    invalid = "INVALID_FIELD"
    assert ["", invalid, invalid, "KEY_UNKNOWN", "OPERATOR_UNKNOWN", invalid, invalid, ""] == reasons(results)
    assert 2 == mint.call.record.count


async def test_batch_and_single_tokens_are_the_same() -> None:
    """Ed25519 is deterministic: the very same token, address and end."""
    mint = Mint()
    one = wanted(Player(player_id="p1", currency="EUR", name="Ada", avatar={"kind": "none"}))
    assert [await mint.tokens.launch(one, mint.call)] == await mint.tokens.launch_many([one], mint.call)


async def test_every_token_of_a_batch_verifies() -> None:
    """None of them was verified on its way out, since the pair was proved at load."""
    mint = Mint()
    results = await mint.tokens.launch_many([wanted() for _ in range(100)], mint.call)
    for one in results:
        assert isinstance(one, LaunchToken)
        assert verified(one, mint.key.public)


async def test_the_audit_digest_is_over_the_claims_as_signed() -> None:
    """Whoever holds the tokens can prove by it that this call minted them; it is no part of a token."""
    mint = Mint()
    results = await mint.tokens.launch_many([wanted(), wanted(Player(player_id="p", currency="EUR"))], mint.call)
    claims = "\n".join(one.token.split(".")[1] for one in results if isinstance(one, LaunchToken))
    assert hashlib.sha256(claims.encode()).hexdigest() == mint.call.record.claims_sha256


@pytest.mark.parametrize(("asked", "lifetime"), [(None, 600), (600, 600), (1, 1)])
async def test_the_lifetime_is_capped_by_the_setting(asked: int | None, lifetime: int) -> None:
    """A lower cap shortens the default lifetime. A requested lifetime above the cap is refused."""
    mint = Mint(LaunchSettings(max_ttl_s=600))
    one = WantedLaunch(operator_code="acme", environment=Environment.SANDBOX, player=None, ttl_s=asked)
    claims = verified(await mint.tokens.launch(one, mint.call), mint.key.public)
    assert (lifetime, -5) == (claims["exp"] - mint.clock.now(), claims["iat"] - mint.clock.now())


async def test_a_lifetime_past_the_cap_is_refused() -> None:
    """By its field."""
    mint = Mint(LaunchSettings(max_ttl_s=600))
    with pytest.raises(InvalidField) as error:
        await mint.tokens.launch(wanted(ttl_s=601), mint.call)
    assert ["ttl"] == [fault.field for fault in error.value.faults]


async def test_audience_and_typ_are_settings() -> None:
    """Omitted if the setting asks for it."""
    mint = Mint(LaunchSettings(audience=None, sends_typ=False))
    claims = verified(await mint.tokens.launch(wanted(), mint.call), mint.key.public)
    assert {"iss", "env", "iat", "exp"} == set(claims)
