"""Administration of leaderboards: create one if absent, prove the key."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.actions.call import Call
from gateway.actions.directory import TenantDirectory
from gateway.actions.rooms import TenantRoom
from gateway.core.wire import Definition
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

        Raises: UpstreamFault; OutcomeUnknown when it cannot be found out whether the board was made.
        """
        room = self._room(tenant_id, call)
        definition, created = await room.admin.ensure(
            leaderboard_id,
            call.deadline,
            name=name or leaderboard_id,
            description=description,
            config_json=config_json if config_json is not None else EXAMPLE_CONFIG,
        )
        return Ensured(definition=definition, created=created)

    async def check_health(self, *, tenant_id: str, call: Call) -> float:
        """Return when Phoenix's 200 arrived, in Unix seconds. Raises: UpstreamFault."""
        await self._room(tenant_id, call).admin.check_health(call.deadline)
        return self._clock.now()

    def _room(self, tenant_id: str, call: Call) -> TenantRoom:
        room = self._tenants.resolve(tenant_id)
        call.facts["tenant"] = room.tenant_id
        return room
