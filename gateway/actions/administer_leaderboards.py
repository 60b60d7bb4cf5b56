"""Administration of leaderboards: create one if absent, prove the key."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.actions.call import Call
from gateway.actions.directory import TenantDirectory
from gateway.actions.rooms import TenantRoom
from gateway.core.wire import Definition, encode_definition
from gateway.errors import PhoenixAnswerUnreadable, PhoenixConflict
from gateway.resilience.clock import Clock

EXAMPLE_CONFIG = (
    b'{"timeframe":{"type":"weekly","timezone":"UTC","reset_day":"monday","reset_time":"00:00"},'
    b'"scoring":{"aggregation":"sum"},"ranking":{"method":"score_desc","size":1000,"min_score":0}}'
)
"""The vendor's own weekly example, for a board that is created without a configuration. Source: gamification.md 2.3."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ensured:
    """A board as Phoenix has it, and whether this call made it."""

    definition: Definition
    created: bool


class AdministerLeaderboards:
    """The actions behind LeaderboardAdminService."""

    def __init__(self, tenants: TenantDirectory[TenantRoom], clock: Clock) -> None:
        self._tenants = tenants
        self._clock = clock

    async def ensure(
        self,
        *,
        tenant_id: str,
        leaderboard_id: str,
        name: str,
        description: str,
        config_json: bytes | None,
        call: Call,
    ) -> Ensured:
        """Create the board if the tenant has none of that id. Repeating it is safe.

        Raises: UpstreamFault; PhoenixAnswerUnreadable when Phoenix says that the board exists and does not list it.
        """
        room = self._room(tenant_id, call)
        existing = await self._find(room, leaderboard_id, call)
        if existing is not None:
            return Ensured(definition=existing, created=False)
        body = encode_definition(
            tenant_id=room.tenant_id,
            leaderboard_id=leaderboard_id,
            name=name or leaderboard_id,
            description=description,
            config_json=config_json if config_json is not None else EXAMPLE_CONFIG,
        )
        try:
            created = await room.admin.create(body, call.deadline)
        except PhoenixConflict:
            existing = await self._find(room, leaderboard_id, call)
            if existing is None:
                raise PhoenixAnswerUnreadable("Phoenix says that the board exists but does not list it.") from None
            return Ensured(definition=existing, created=False)
        if created is None:
            created = await self._find(room, leaderboard_id, call)
        if created is None:
            raise PhoenixAnswerUnreadable("Phoenix accepted the board but does not list it yet. Ask again.")
        return Ensured(definition=created, created=True)

    async def check_health(self, *, tenant_id: str, call: Call) -> float:
        """Return when Phoenix's 200 arrived, in Unix seconds. Raises: UpstreamFault."""
        await self._room(tenant_id, call).admin.check_health(call.deadline)
        return self._clock.now()

    async def _find(self, room: TenantRoom, leaderboard_id: str, call: Call) -> Definition | None:
        for definition in await room.admin.definitions(call.deadline):
            if definition.leaderboard_id == leaderboard_id:
                return definition
        return None

    def _room(self, tenant_id: str, call: Call) -> TenantRoom:
        room = self._tenants.resolve(tenant_id)
        call.facts["tenant"] = room.tenant_id
        return room
