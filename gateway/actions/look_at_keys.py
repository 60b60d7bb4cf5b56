"""Describes keys, publishes public halves, refreshes Phoenix's platform key."""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from gateway.actions.call import Call
from gateway.actions.directory import OperatorDirectory
from gateway.actions.rooms import OperatorRoom
from gateway.core.types import Environment, KeyId
from gateway.errors import KeyUnknown
from gateway.keys.descriptions import KeyDescription
from gateway.keys.keyring import Keyring


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKey:
    """An operator's public key in both of its forms. `jwk` is JSON text."""

    key_id: KeyId
    spki_pem: str
    jwk: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refreshed:
    """The platform key after a refresh. `fetched_at`: Unix seconds."""

    key_id: KeyId
    changed: bool
    fetched_at: float


class LookAtKeys:
    """The actions behind KeyService."""

    def __init__(self, operators: OperatorDirectory[OperatorRoom], keyring: Keyring) -> None:
        self._operators = operators
        self._keyring = keyring

    def all(self) -> list[KeyDescription]:
        """Return every key, ours first, then Phoenix's."""
        descriptions = list(self._keyring.describe())
        for room in self._operators.all():
            descriptions.extend(room.platform_keys.describe(room.environment))
        return descriptions

    def public(self, operator_code: str, environment: Environment | None, call: Call) -> PublicKey:
        """Return an operator's public key. Raises: OperatorUnknown, KeyUnknown."""
        room = self._room(operator_code, environment, call)
        key = self._keyring.operator(room.operator_code, room.environment).signing_key
        if key is None:
            raise KeyUnknown("This operator environment has no launch key. Set PREDICTION_LAUNCH_KEY.")
        return PublicKey(
            key_id=key.key_id, spki_pem=key.public.spki_pem.decode(), jwk=orjson.dumps(key.public.jwk()).decode()
        )

    async def refresh_platform_key(self, operator_code: str, environment: Environment | None, call: Call) -> Refreshed:
        """Wait for the next fetch of the platform key, which all who ask share.

        Raises: OperatorUnknown; KeyUnavailable when none came in time or it was not acceptable.
        """
        room = self._room(operator_code, environment, call)
        before = room.platform_keys.current()
        fresh = await room.platform_keys.fresher(call.deadline)
        call.facts["key_id"] = fresh.key.key_id
        return Refreshed(
            key_id=fresh.key.key_id,
            changed=before is None or before.key != fresh.key,
            fetched_at=fresh.fetched_at,
        )

    def _room(self, operator_code: str, environment: Environment | None, call: Call) -> OperatorRoom:
        room = self._operators.resolve(operator_code, environment)
        call.facts["operator"] = room.operator_code
        call.facts["environment"] = room.environment.value
        return room
