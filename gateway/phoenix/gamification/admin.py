"""The admin host: whether the key is active, and the definitions of boards.

Source: gamification.md 2.3, the paths of the older generation. Phoenix documents no path to update or retire a board.
"""

from gateway.core.types import TenantId
from gateway.core.wire import Definition, decode_definition, decode_definitions, encode_definition
from gateway.errors import Effect, GatewayError, OutcomeUnknown, PhoenixAnswerUnreadable, PhoenixNotFound
from gateway.phoenix.answers import Surface
from gateway.phoenix.auth.authorize import Authorize
from gateway.phoenix.gamification.client import GamificationClient, path
from gateway.phoenix.retry import Idempotency, RetryingSender
from gateway.resilience.deadline import Deadline

_HEALTH_PATH = "/health"
_MADE_BUT_UNREAD = "Phoenix made the leaderboard, but it cannot be read yet. Read its definition later."
_THERE_BUT_UNREAD = "Phoenix reports that the leaderboard is there but does not list it. Try again later."


class AdminClient:
    """One tenant at the admin host."""

    def __init__(self, *, retrying: RetryingSender, base_url: str, tenant_id: TenantId, authorize: Authorize) -> None:
        """Send to `ADMIN_BASE_URL` with the credentials of `ADMIN_AUTH`."""
        self._client = GamificationClient(
            retrying=retrying, base_url=base_url, tenant_id=tenant_id, surface=Surface.ADMIN, authorize=authorize
        )

    async def check_health(self, deadline: Deadline) -> None:
        """Return if the host answers 2xx, which proves that the key is active. The body means nothing."""
        await self._client.read(_HEALTH_PATH, deadline)

    async def definitions(self, deadline: Deadline) -> tuple[Definition, ...]:
        """List the tenant's boards, in any state."""
        answer = await self._client.read(self._boards(), deadline)
        return decode_definitions(answer.body)

    async def definition(self, leaderboard_id: str, deadline: Deadline) -> Definition:
        """Return one board from the list: no path for one board is known. Raises: PhoenixNotFound; as `definitions`."""
        found = await self._find(leaderboard_id, deadline)
        if found is None:
            raise PhoenixNotFound("The tenant has no such leaderboard. Check leaderboard_id.")
        return found

    async def create(
        self, leaderboard_id: str, deadline: Deadline, *, name: str, description: str = "", config_json: bytes
    ) -> Definition:
        """Create a board and return it.

        Raises: PhoenixConflict if there is one of that id; OutcomeUnknown if the answer was lost, also where the board
        is there afterwards (another may have made it), or if the board was made and cannot be read.
        """
        body = encode_definition(
            tenant_id=self._client.tenant_id,
            leaderboard_id=leaderboard_id,
            name=name,
            description=description,
            config_json=config_json,
        )
        delivered = await self._client.post(self._boards(), body, deadline, idempotency=Idempotency.NOT_IDEMPOTENT)
        try:
            made = _definition_of(delivered.answer.body, leaderboard_id) or await self._find(leaderboard_id, deadline)
        except GatewayError as unread:
            raise OutcomeUnknown(_MADE_BUT_UNREAD, effect=Effect.DONE) from unread
        if made is None:
            raise OutcomeUnknown(_MADE_BUT_UNREAD, effect=Effect.DONE)
        return made

    async def ensure(
        self,
        leaderboard_id: str,
        deadline: Deadline,
        *,
        name: str,
        description: str = "",
        config_json: bytes | None = None,
    ) -> tuple[Definition, bool]:
        """Return the tenant's board with this id, created if missing, and whether this call certainly created it.

        A board that is there is left as it is. A 409 means that another made it meanwhile. After a lost answer the list
        is read again: a board that has appeared is returned, and not called ours. Raises: OutcomeUnknown where it has
        not appeared or cannot be read; repeating `ensure` is safe, as the id is taken once.
        """
        there = await self._find(leaderboard_id, deadline)
        if there is not None:
            return there, False
        body = encode_definition(
            tenant_id=self._client.tenant_id,
            leaderboard_id=leaderboard_id,
            name=name,
            description=description,
            config_json=config_json,
        )
        created = False
        lost: OutcomeUnknown | None = None
        try:
            delivered = await self._client.post(
                self._boards(),
                body,
                deadline,
                idempotency=Idempotency.NOT_IDEMPOTENT,
                accepted_statuses=frozenset({409}),
            )
            created = delivered.answer.status != 409
            if created:
                made = _definition_of(delivered.answer.body, leaderboard_id)
                if made is not None:
                    return made, True
        except OutcomeUnknown as failure:
            lost = failure
        if created:
            lost = OutcomeUnknown(_MADE_BUT_UNREAD, effect=Effect.DONE)
        try:
            there = await self._find(leaderboard_id, deadline)
        except GatewayError as unread:
            if lost is None:
                raise
            raise lost from unread
        if there is not None:
            return there, created
        raise lost or PhoenixAnswerUnreadable(_THERE_BUT_UNREAD)

    async def _find(self, leaderboard_id: str, deadline: Deadline) -> Definition | None:
        for definition in await self.definitions(deadline):
            if definition.leaderboard_id == leaderboard_id:
                return definition
        return None

    def _boards(self) -> str:
        return path("tenants", self._client.tenant_id, "leaderboards")


def _definition_of(body: bytes, leaderboard_id: str) -> Definition | None:
    """Return the definition from the answer to a creation, or None: the body of that answer is not documented."""
    try:
        definition = decode_definition(body)
    except PhoenixAnswerUnreadable:
        return None
    return definition if definition.leaderboard_id == leaderboard_id else None
