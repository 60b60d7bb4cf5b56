"""TokenService: messages to claims and back. No answer of it is ever logged."""

from __future__ import annotations

from collections.abc import Callable

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from gateway.actions.shared.call import Call
from gateway.actions.tokens.mint_tokens import LaunchToken, MintTokens, WantedLaunch
from gateway.core.launch_token import Player
from gateway.errors import FieldFault, GatewayError, InvalidField
from gateway.services.convert import environment_from_proto, timestamp
from gateway.services.status import status_of
from gateway.services.structs import struct_to_dict
from gateway.v1 import common_pb2, tokens_pb2

_ENVIRONMENTS = frozenset(common_pb2.PhoenixEnvironment.values())
Validate = Callable[[Message], tuple[FieldFault, ...]]


class TokenService:
    """Serves phoenix.gateway.v1.TokenService."""

    def __init__(self, mint: MintTokens, validate: Validate) -> None:
        self._mint = mint
        self._validate = validate

    async def MintLaunchJWT(
        self, request: tokens_pb2.MintLaunchJWTRequest, call: Call
    ) -> tokens_pb2.MintLaunchJWTResponse:
        """Mint a launch token."""
        return _minted(await self._mint.launch(_wanted(request, request.WhichOneof("session")), call))

    async def BatchMintLaunchJWT(
        self, request: tokens_pb2.BatchMintLaunchJWTRequest, call: Call
    ) -> tokens_pb2.BatchMintLaunchJWTResponse:
        """Mint many; a bad request is its own result."""
        minted = await self._mint.launch_many([self._read(one) for one in request.requests], call)
        response = tokens_pb2.BatchMintLaunchJWTResponse()
        for one in minted:
            _fill(response.results.add(), one)
        return response

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

    def _read(self, request: tokens_pb2.MintLaunchJWTRequest) -> WantedLaunch | InvalidField:
        """Convert one request of a batch, which the chain has not validated.

        What a token says is checked again where its claims are made, by rules no laxer than the proto's; only what does
        not get that far is held against the proto's rules here, since that takes a fifth of the time of signing.
        """
        session = request.WhichOneof("session")
        if session is None or request.environment not in _ENVIRONMENTS:
            return InvalidField(self._validate(request))
        try:
            return _wanted(request, session)
        except InvalidField as error:
            return error


def _wanted(request: tokens_pb2.MintLaunchJWTRequest, session: str | None) -> WantedLaunch:
    return WantedLaunch(
        operator_code=request.operator_code,
        environment=environment_from_proto(request.environment),
        player=_player(request.player) if session == "player" else None,
        cfg=struct_to_dict(request.cfg, "cfg") if request.HasField("cfg") else None,
        ttl_s=_ttl(request),
    )


def _minted(minted: LaunchToken) -> tokens_pb2.MintLaunchJWTResponse:
    answer = tokens_pb2.MintLaunchJWTResponse(token=minted.token, key_id=minted.key_id, embed_url=minted.embed_url)
    answer.expire_time.seconds = minted.expires_at
    return answer


def _fill(result: tokens_pb2.BatchMintLaunchJWTResult, one: LaunchToken | GatewayError) -> None:
    """Write a result in its place: a message made apart would be copied, and a batch has a hundred."""
    if isinstance(one, GatewayError):
        result.error.CopyFrom(status_of(one))
        return
    minted = result.response
    minted.token = one.token
    minted.key_id = one.key_id
    minted.embed_url = one.embed_url
    minted.expire_time.seconds = one.expires_at


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
