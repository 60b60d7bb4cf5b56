"""LeaderboardAdminService: messages to administration and back."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from gateway.actions.administer_leaderboards import AdministerLeaderboards
from gateway.actions.call import Call
from gateway.core.wire import Definition
from gateway.services.convert import timestamp
from gateway.services.structs import dict_to_struct, struct_to_json
from gateway.v1 import leaderboard_admin_pb2 as admin_pb2


class LeaderboardAdminService:
    """Serves phoenix.gateway.v1.LeaderboardAdminService."""

    def __init__(self, administer: AdministerLeaderboards) -> None:
        self._administer = administer

    async def EnsureLeaderboard(
        self, request: admin_pb2.EnsureLeaderboardRequest, call: Call
    ) -> admin_pb2.EnsureLeaderboardResponse:
        """Create a board if there is none of that id."""
        ensured = await self._administer.ensure(
            tenant_id=request.tenant_id,
            leaderboard_id=request.leaderboard_id,
            name=request.name,
            description=request.description,
            config_json=struct_to_json(request.config, "config") if request.HasField("config") else None,
            call=call,
        )
        return admin_pb2.EnsureLeaderboardResponse(leaderboard=_definition(ensured.definition), created=ensured.created)

    async def CheckAdminHealth(
        self, request: admin_pb2.CheckAdminHealthRequest, call: Call
    ) -> admin_pb2.CheckAdminHealthResponse:
        """Prove that the tenant's key is active."""
        checked_at = await self._administer.check_health(tenant_id=request.tenant_id, call=call)
        return admin_pb2.CheckAdminHealthResponse(check_time=timestamp(checked_at))


def _definition(definition: Definition) -> admin_pb2.LeaderboardDefinition:
    return admin_pb2.LeaderboardDefinition(
        leaderboard_id=definition.leaderboard_id,
        name=definition.name,
        description=definition.description,
        status=definition.status,
        version=definition.version,
        config=dict_to_struct(definition.config),
        create_time=_time(definition.created_at),
        update_time=_time(definition.updated_at),
    )


def _time(text: str) -> Timestamp | None:
    """Return a time as Phoenix wrote it; None where it wrote none, or one that is no RFC 3339."""
    if not text:
        return None
    parsed = Timestamp()
    try:
        parsed.FromJsonString(text)
    except ValueError:
        return None
    return parsed
