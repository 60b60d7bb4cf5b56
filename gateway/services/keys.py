"""KeyService: descriptions of keys and public halves. Nothing of a secret passes here."""

from __future__ import annotations

from gateway.actions.admin.describe_keys import DescribeKeys, PublicKey
from gateway.actions.shared.call import Call
from gateway.keys.descriptions import KeyDescription, KeyKind, KeyState
from gateway.services.convert import environment_from_proto, environment_to_proto, timestamp
from gateway.v1 import common_pb2, keys_pb2

_KINDS = {
    KeyKind.TENANT_HMAC: keys_pb2.KEY_KIND_TENANT_HMAC,
    KeyKind.ADMIN_API_KEY: keys_pb2.KEY_KIND_ADMIN_API_KEY,
    KeyKind.OPERATOR: keys_pb2.KEY_KIND_OPERATOR,
    KeyKind.PLATFORM: keys_pb2.KEY_KIND_PLATFORM,
    KeyKind.CACHE_SEAL: keys_pb2.KEY_KIND_CACHE_SEAL,
}
_STATES = {
    KeyState.ANNOUNCED: keys_pb2.KEY_STATE_ANNOUNCED,
    KeyState.ACTIVE: keys_pb2.KEY_STATE_ACTIVE,
    KeyState.RETIRING: keys_pb2.KEY_STATE_RETIRING,
    KeyState.RETIRED: keys_pb2.KEY_STATE_RETIRED,
}


class KeyService:
    """Serves phoenix.gateway.v1.KeyService."""

    def __init__(self, look: DescribeKeys) -> None:
        self._look = look

    async def ListKeys(self, request: keys_pb2.ListKeysRequest, call: Call) -> keys_pb2.ListKeysResponse:
        """List every key, without key material."""
        return keys_pb2.ListKeysResponse(keys=[_description(key) for key in self._look.all(call)])

    async def GetPublicKey(self, request: keys_pb2.GetPublicKeyRequest, call: Call) -> keys_pb2.GetPublicKeyResponse:
        """Return an operator's public keys."""
        found = self._look.public(
            request.operator_code, environment_from_proto(request.environment), request.key_id, call
        )
        return keys_pb2.GetPublicKeyResponse(
            key_id=found.wanted.key_id,
            public_key_pem=found.wanted.spki_pem,
            public_key_jwk=found.wanted.jwk,
            published=[_public(one) for one in found.published],
        )

    async def RefreshPlatformKey(
        self, request: keys_pb2.RefreshPlatformKeyRequest, call: Call
    ) -> keys_pb2.RefreshPlatformKeyResponse:
        """Have Phoenix's platform key fetched and wait for it."""
        refreshed = await self._look.refresh_platform_key(
            request.operator_code, environment_from_proto(request.environment), call
        )
        return keys_pb2.RefreshPlatformKeyResponse(
            key_id=refreshed.key_id, changed=refreshed.changed, fetch_time=timestamp(refreshed.fetched_at)
        )

    async def RevokePlatformKey(
        self, request: keys_pb2.RevokePlatformKeyRequest, call: Call
    ) -> keys_pb2.RevokePlatformKeyResponse:
        """Never accept one of Phoenix's platform keys again."""
        was_remembered = await self._look.revoke_platform_key(
            request.operator_code, environment_from_proto(request.environment), request.key_id, call
        )
        return keys_pb2.RevokePlatformKeyResponse(was_remembered=was_remembered)


def _public(key: PublicKey) -> keys_pb2.PublicKey:
    return keys_pb2.PublicKey(
        key_id=key.key_id,
        pem=key.spki_pem,
        jwk=key.jwk,
        state=_STATES[key.state],
        activate_time=timestamp(key.activated_at),
        end_time=None if key.ends_at is None else timestamp(key.ends_at),
    )


def _description(key: KeyDescription) -> keys_pb2.KeyDescription:
    return keys_pb2.KeyDescription(
        key_id=key.key_id,
        kind=_KINDS[key.kind],
        algorithm=key.algorithm,
        public_key_sha256=key.public_key_sha256 or "",
        state=_STATES[key.state],
        owner=key.owner,
        environment=common_pb2.PHOENIX_ENVIRONMENT_UNSPECIFIED
        if key.environment is None
        else environment_to_proto(key.environment),
        activate_time=timestamp(key.activated_at),
        retire_time=None if key.retired_at is None else timestamp(key.retired_at),
        announce_time=None if key.announced_at is None else timestamp(key.announced_at),
        end_time=None if key.ends_at is None else timestamp(key.ends_at),
        version=key.version,
        note=key.note,
        source=key.source,
    )
