"""TokenService: messages to claims and back. No answer of it is ever logged."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from gateway.actions.call import Call
from gateway.actions.mint_tokens import MintTokens
from gateway.core.launch_token import Player
from gateway.errors import FieldFault, InvalidField
from gateway.services.convert import environment_from_proto, timestamp
from gateway.services.structs import struct_to_dict
from gateway.v1 import tokens_pb2


class TokenService:
    """Serves phoenix.gateway.v1.TokenService."""

    def __init__(self, mint: MintTokens) -> None:
        self._mint = mint

    async def MintLaunchJWT(
        self, request: tokens_pb2.MintLaunchJWTRequest, call: Call
    ) -> tokens_pb2.MintLaunchJWTResponse:
        """Mint a launch token."""
        minted = self._mint.launch(
            operator_code=request.operator_code,
            environment=environment_from_proto(request.environment),
            player=_player(request.player) if request.WhichOneof("session") == "player" else None,
            cfg=struct_to_dict(request.cfg, "cfg") if request.HasField("cfg") else None,
            ttl_s=_ttl(request),
            call=call,
        )
        return tokens_pb2.MintLaunchJWTResponse(
            token=minted.token,
            expire_time=timestamp(minted.expires_at),
            key_id=minted.key_id,
            embed_url=minted.embed_url,
        )

    async def MintTenantJWT(
        self, request: tokens_pb2.MintTenantJWTRequest, call: Call
    ) -> tokens_pb2.MintTenantJWTResponse:
        """Mint a tenant token."""
        minted = self._mint.tenant(tenant_id=request.tenant_id, user_id=request.user_id, ttl_s=_ttl(request), call=call)
        return tokens_pb2.MintTenantJWTResponse(token=minted.token, expire_time=timestamp(minted.expires_at))

    async def MintAdminJWT(
        self, request: tokens_pb2.MintAdminJWTRequest, call: Call
    ) -> tokens_pb2.MintAdminJWTResponse:
        """Mint an admin token."""
        minted = self._mint.admin(tenant_id=request.tenant_id, subject=request.subject, ttl_s=_ttl(request), call=call)
        return tokens_pb2.MintAdminJWTResponse(token=minted.token, expire_time=timestamp(minted.expires_at))

    async def SignLeaderboardSocket(
        self, request: tokens_pb2.SignLeaderboardSocketRequest, call: Call
    ) -> tokens_pb2.SignLeaderboardSocketResponse:
        """Sign a socket's address."""
        signed = self._mint.socket_url(tenant_id=request.tenant_id, leaderboard_id=request.leaderboard_id, call=call)
        return tokens_pb2.SignLeaderboardSocketResponse(url=signed.token, expire_time=timestamp(signed.expires_at))


def _player(session: tokens_pb2.PlayerSession) -> Player:
    return Player(
        player_id=session.player_id,
        name=session.name,
        currency=session.currency,
        avatar=struct_to_dict(session.avatar, "player.avatar") if session.HasField("avatar") else None,
    )


def _ttl(request: Message) -> int | None:
    """Return the lifetime in whole seconds; a fraction is refused, since the claims know none."""
    if not request.HasField("ttl"):
        return None
    ttl: Duration = request.ttl  # type: ignore[attr-defined]
    if ttl.nanos:
        raise InvalidField([FieldFault(field="ttl", description="must be whole seconds")])
    return ttl.seconds
