"""Describe keys, return public keys, and refresh or revoke Phoenix's platform key."""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from gateway.actions.shared.call import Call
from gateway.actions.shared.contexts import OperatorContext
from gateway.actions.shared.directory import OperatorDirectory
from gateway.core.types import Environment, KeyId
from gateway.errors import FieldFault, InvalidField, KeyUnknown
from gateway.keys.descriptions import KeyDescription, KeyState, PublishedKey
from gateway.keys.own.keyring import Keyring


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKey:
    """An operator's public key as PEM and as JWK (JSON text). Times are Unix seconds."""

    key_id: KeyId
    spki_pem: str
    jwk: str
    state: KeyState
    activated_at: float
    ends_at: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKeys:
    """The requested key, and all published keys, the current one first."""

    wanted: PublicKey
    published: tuple[PublicKey, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refreshed:
    """The platform key after a refresh. `fetched_at`: Unix seconds."""

    key_id: KeyId
    changed: bool
    fetched_at: float


class DescribeKeys:
    """The actions behind KeyService."""

    def __init__(self, operators: OperatorDirectory[OperatorContext], keyring: Keyring) -> None:
        self._operators = operators
        self._keyring = keyring

    def all(self, call: Call) -> list[KeyDescription]:
        """Return every key of the caller's tenants and operators: our keys first, then Phoenix's."""
        grant = call.grant
        descriptions = [
            one
            for one in self._keyring.describe()
            if (
                grant.sees_tenant(one.owner)
                if one.environment is None
                else grant.sees_operator(one.owner, one.environment)
            )
        ]
        for context in self._operators.seen_by(grant):
            descriptions.extend(context.platform_keys.describe(context.environment))
        return descriptions

    def public(self, operator_code: str, environment: Environment | None, key_id: str, call: Call) -> PublicKeys:
        """Return an operator's public keys. `key_id` "": the current key.

        Raises: OperatorUnknown; KeyUnknown, also for a key that is not published.
        """
        context = self._operators.resolve(operator_code, environment, call)
        published = tuple(
            _public(one)
            for one in self._keyring.published()
            if (one.operator_code, one.environment) == (context.operator_code, context.environment)
        )
        if not published:
            raise KeyUnknown("This operator environment has no launch key. Set PREDICTION_LAUNCH_KEY.")
        wanted = next((one for one in published if key_id in ("", one.key_id)), None)
        if wanted is None:
            raise KeyUnknown("This operator environment publishes no such key. ListKeys shows its keys.")
        return PublicKeys(wanted=wanted, published=published)

    async def refresh_platform_key(self, operator_code: str, environment: Environment | None, call: Call) -> Refreshed:
        """Wait for the next fetch of the platform key. All callers share the fetch.

        Raises: OperatorUnknown; KeyUnavailable if no key arrives in time or it is refused.
        """
        context = self._operators.resolve(operator_code, environment, call)
        before = context.platform_keys.current()
        fresh = await context.platform_keys.fresher(call.deadline)
        call.record.key_id = fresh.key.key_id
        return Refreshed(
            key_id=fresh.key.key_id,
            changed=before is None or before.key != fresh.key,
            fetched_at=fresh.fetched_at,
        )

    async def revoke_platform_key(
        self, operator_code: str, environment: Environment | None, key_id: str, call: Call
    ) -> bool:
        """Revoke this key. Return whether this gateway remembered it as retired.

        Raises: OperatorUnknown; InvalidField for the current key; StoreUnavailable if no other process can be informed.
        """
        context = self._operators.resolve(operator_code, environment, call)
        call.record.key_id = key_id
        was_remembered = any(one.key_id == key_id for one in context.platform_keys.retired())
        if not await context.platform_keys.revoke(KeyId(key_id)):
            description = "is the current key; revoke it after Phoenix has replaced it"
            raise InvalidField([FieldFault(field="key_id", description=description)])
        return was_remembered


def _public(one: PublishedKey) -> PublicKey:
    return PublicKey(
        key_id=one.key.key_id,
        spki_pem=one.key.spki_pem.decode(),
        jwk=orjson.dumps(one.key.jwk()).decode(),
        state=one.state,
        activated_at=one.activated_at,
        ends_at=one.ends_at,
    )
