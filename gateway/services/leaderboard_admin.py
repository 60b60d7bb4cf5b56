"""LeaderboardAdminService: messages to administration and back."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.timestamp_pb2 import Timestamp

from gateway.actions.admin.administer_leaderboards import AdministerLeaderboards
from gateway.actions.shared.call import Call
from gateway.core.answer_size import fit_page
from gateway.core.wire import Definition
from gateway.errors import FieldFault, InvalidField
from gateway.services.board_config import config_to_json, config_to_proto
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
            config_json=_config(request),
            call=call,
        )
        return admin_pb2.EnsureLeaderboardResponse(leaderboard=_definition(ensured.definition), created=ensured.created)

    async def CreateLeaderboard(
        self, request: admin_pb2.CreateLeaderboardRequest, call: Call
    ) -> admin_pb2.CreateLeaderboardResponse:
        """Create a board."""
        made = await self._administer.create(
            tenant_id=request.tenant_id,
            leaderboard_id=request.leaderboard_id,
            name=request.name,
            description=request.description,
            config_json=_config(request),
            call=call,
        )
        return admin_pb2.CreateLeaderboardResponse(leaderboard=_definition(made))

    async def ListLeaderboards(self, request: admin_pb2.ListLeaderboardsRequest, call: Call) -> bytes:
        """Return the tenant's boards."""
        listed = await self._administer.listed(
            tenant_id=request.tenant_id,
            page_size=request.page_size if request.HasField("page_size") else None,
            page_token=request.page_token,
            call=call,
        )

        def encoded(definitions: Sequence[Definition], is_cut: bool) -> bytes:
            token = listed.token_after(definitions[-1]) if is_cut else listed.next_page_token
            return admin_pb2.ListLeaderboardsResponse(
                leaderboards=map(_definition, definitions), next_page_token=token
            ).SerializeToString()

        return fit_page(listed.definitions, encoded)

    async def GetLeaderboardDefinition(
        self, request: admin_pb2.GetLeaderboardDefinitionRequest, call: Call
    ) -> admin_pb2.GetLeaderboardDefinitionResponse:
        """Return one board's definition."""
        found = await self._administer.definition(
            tenant_id=request.tenant_id, leaderboard_id=request.leaderboard_id, call=call
        )
        return admin_pb2.GetLeaderboardDefinitionResponse(leaderboard=_definition(found))

    async def CheckAdminHealth(
        self, request: admin_pb2.CheckAdminHealthRequest, call: Call
    ) -> admin_pb2.CheckAdminHealthResponse:
        """Prove that the tenant's key is active."""
        checked_at = await self._administer.check_health(tenant_id=request.tenant_id, call=call)
        return admin_pb2.CheckAdminHealthResponse(check_time=timestamp(checked_at))


def _config(request: admin_pb2.EnsureLeaderboardRequest | admin_pb2.CreateLeaderboardRequest) -> bytes | None:
    """Return the configuration that was given in either form, None for none. Raises: InvalidField for both."""
    if request.HasField("config") and request.HasField("typed_config"):
        raise InvalidField([FieldFault(field="typed_config", description="config is set too; set one of the two")])
    if request.HasField("typed_config"):
        return config_to_json(request.typed_config, "typed_config")
    return struct_to_json(request.config, "config") if request.HasField("config") else None


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
        typed_config=config_to_proto(definition.config),
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
