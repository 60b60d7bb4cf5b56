"""Administration of leaderboards: create, list and read definitions, and check the API key.

Phoenix returns all boards of a tenant at once; this module divides them into pages.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.actions.shared.call import Call
from gateway.actions.shared.contexts import TenantContext
from gateway.actions.shared.directory import TenantDirectory
from gateway.actions.shared.page_token import PageToken, decode_page_token, encode_page_token
from gateway.core.types import TenantId
from gateway.core.wire import Definition
from gateway.resilience.clock import Clock

EXAMPLE_CONFIG = (
    b'{"timeframe":{"type":"weekly","timezone":"UTC","reset_day":"monday","reset_time":"00:00"},'
    b'"scoring":{"aggregation":"sum"},"ranking":{"method":"score_desc","size":1000,"min_score":0}}'
)
"""The default configuration of a board: the vendor's weekly example. Source: gamification.md 2.3."""


DEFAULT_PAGE_SIZE = 100
_LIST = "definitions"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A page of boards, ordered by id. `next_page_token` is "" on the last page."""

    definitions: tuple[Definition, ...]
    next_page_token: str
    tenant_id: TenantId

    def token_after(self, definition: Definition) -> str:
        """Return the token of a page that begins after this board."""
        return _token_after(self.tenant_id, definition)


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsuredBoard:
    """A board at Phoenix, and whether this call created it."""

    definition: Definition
    created: bool


class AdministerLeaderboards:
    """The actions behind LeaderboardAdminService."""

    def __init__(self, tenants: TenantDirectory[TenantContext], clock: Clock) -> None:
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
    ) -> EnsuredBoard:
        """Create the board if the tenant has none with this id. Repeating the call is safe.

        Raises: UpstreamFault; OutcomeUnknown if it is not known whether the board was created.
        """
        context = self._tenants.resolve(tenant_id, call)
        definition, created = await context.admin.ensure(
            leaderboard_id,
            call.deadline,
            name=name or leaderboard_id,
            description=description,
            config_json=config_json if config_json is not None else EXAMPLE_CONFIG,
        )
        return EnsuredBoard(definition=definition, created=created)

    async def create(
        self,
        *,
        tenant_id: str,
        leaderboard_id: str,
        name: str,
        description: str,
        config_json: bytes | None,
        call: Call,
    ) -> Definition:
        """Create a board. Raises: PhoenixConflict if one with this id exists; OutcomeUnknown; UpstreamFault."""
        return await self._tenants.resolve(tenant_id, call).admin.create(
            leaderboard_id,
            call.deadline,
            name=name or leaderboard_id,
            description=description,
            config_json=config_json if config_json is not None else EXAMPLE_CONFIG,
        )

    async def listed(self, *, tenant_id: str, page_size: int | None, page_token: str, call: Call) -> Listed:
        """Return the next page of the tenant's boards, ordered by id.

        Raises: InvalidField for a token that is invalid or belongs to another tenant; UpstreamFault.
        """
        context = self._tenants.resolve(tenant_id, call)
        after = ""
        if page_token:
            after = decode_page_token(page_token, of=_LIST, tenant_id=context.tenant_id).after
        size = page_size or DEFAULT_PAGE_SIZE
        found = sorted(await context.admin.definitions(call.deadline), key=lambda definition: definition.leaderboard_id)
        rest = [definition for definition in found if definition.leaderboard_id > after]
        shown = tuple(rest[:size])
        if len(rest) <= size:
            return Listed(definitions=shown, next_page_token="", tenant_id=context.tenant_id)
        token = _token_after(context.tenant_id, shown[-1])
        return Listed(definitions=shown, next_page_token=token, tenant_id=context.tenant_id)

    async def definition(self, *, tenant_id: str, leaderboard_id: str, call: Call) -> Definition:
        """Return one board's definition. Raises: PhoenixNotFound; UpstreamFault."""
        return await self._tenants.resolve(tenant_id, call).admin.definition(leaderboard_id, call.deadline)

    async def check_health(self, *, tenant_id: str, call: Call) -> float:
        """Return when Phoenix's 200 arrived, in Unix seconds. Raises: UpstreamFault."""
        await self._tenants.resolve(tenant_id, call).admin.check_health(call.deadline)
        return self._clock.now()


def _token_after(tenant_id: TenantId, definition: Definition) -> str:
    return encode_page_token(PageToken(of=_LIST, tenant_id=tenant_id, after=definition.leaderboard_id))
