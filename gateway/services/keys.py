"""KeyService: descriptions of keys and public halves. Nothing of a secret passes here."""

from __future__ import annotations

from gateway.actions.call import Call
from gateway.actions.look_at_keys import LookAtKeys
from gateway.keys.descriptions import KeyDescription, KeyKind, KeyState
from gateway.services.convert import environment_from_proto, environment_to_proto, timestamp
from gateway.v1 import common_pb2, keys_pb2

_KINDS = {
    KeyKind.TENANT_HMAC: keys_pb2.KEY_KIND_TENANT_HMAC,
    KeyKind.ADMIN_API_KEY: keys_pb2.KEY_KIND_ADMIN_API_KEY,
    KeyKind.OPERATOR: keys_pb2.KEY_KIND_OPERATOR,
    KeyKind.PLATFORM: keys_pb2.KEY_KIND_PLATFORM,
}
_STATES = {
    KeyState.ACTIVE: keys_pb2.KEY_STATE_ACTIVE,
    KeyState.RETIRING: keys_pb2.KEY_STATE_RETIRING,
}


class KeyService:
    """Serves phoenix.gateway.v1.KeyService."""

    def __init__(self, look: LookAtKeys) -> None:
        self._look = look

    async def ListKeys(self, request: keys_pb2.ListKeysRequest, call: Call) -> keys_pb2.ListKeysResponse:
        """List every key, without key material."""
        return keys_pb2.ListKeysResponse(keys=[_description(key) for key in self._look.all()])

    async def GetPublicKey(self, request: keys_pb2.GetPublicKeyRequest, call: Call) -> keys_pb2.GetPublicKeyResponse:
        """Return an operator's public key."""
        public = self._look.public(request.operator_code, environment_from_proto(request.environment), call)
        return keys_pb2.GetPublicKeyResponse(
            key_id=public.key_id, public_key_pem=public.spki_pem, public_key_jwk=public.jwk
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
    )
